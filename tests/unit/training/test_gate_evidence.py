"""What the gate measures about a search and a candidate, and that a fault of the ledger is a refusal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from core.errors import BadInputError
from trading.strategy.sizing import SizingParameters
from training.dataset import ECONOMICS, Dataset
from training.evaluation.strategy import Performance, earn, hold
from training.evidence.drift import drift_at_cutoff
from training.evidence.offline import measure_latency
from training.evidence.paths import equity_path
from training.evidence.policy import GatePolicy
from training.evidence.record import read_record
from training.evidence.search import search_evidence
from training.simulation.run import rate
from training.trials import TrialLedger

STEPS = 600


def noise(count: int, mean: float = 0.0, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, size=(STEPS, count)) * 0.01


def test_the_same_returns_are_worth_less_after_a_longer_search() -> None:
    own = noise(1, 0.12)
    alone = search_evidence(own[:, 0], own, 1, 260.0, 200, 1)
    among = search_evidence(own[:, 0], np.hstack([own, noise(60, 0.0, 2)]), 61, 260.0, 200, 1)
    assert alone.luck == 0.0 and alone.overfitting is None
    assert among.luck > 2.0 / STEPS**0.5
    assert among.deflated < alone.deflated - 0.1
    assert among.superiority > alone.superiority
    assert among.sharpe == pytest.approx(alone.sharpe)


def test_trials_without_a_series_are_attempts_all_the_same() -> None:
    matrix = noise(20)
    seen = search_evidence(matrix[:, 0], matrix, 20, 260.0, 100, 1)
    pruned = search_evidence(matrix[:, 0], matrix, 200, 260.0, 100, 1)
    assert pruned.effective == pytest.approx(10.0 * seen.effective)
    assert pruned.luck > seen.luck
    with pytest.raises(BadInputError, match="names 10 trials"):
        search_evidence(matrix[:, 0], matrix, 10, 260.0, 100, 1)
    with pytest.raises(BadInputError, match="too few"):
        search_evidence(matrix[:50, 0], matrix[:50], 20, 260.0, 100, 1)


def test_luck_is_that_of_chance_and_not_the_merit_of_the_better_half() -> None:
    # Half of the search found the signal: the published deviation holds it against the winner, chance does not.
    generator = np.random.default_rng(4)
    signal = 0.2 + generator.normal(size=(STEPS, 1))
    good = signal + 0.3 * generator.normal(size=(STEPS, 20))
    matrix = np.hstack([good, generator.normal(size=(STEPS, 20))])
    winner = int((matrix.mean(axis=0) / matrix.std(axis=0)).argmax())
    found = search_evidence(matrix[:, winner], matrix, 40, 260.0, 200, 1)
    assert found.deflated > 0.95 > found.deflated_published


def ledger_with(folder: Path, series: list[np.ndarray], times: list[np.ndarray]) -> tuple[TrialLedger, list[str]]:
    ledger = TrialLedger(f"sqlite:///{folder / 'trials.db'}")
    names: list[str] = []
    for number, (values, axis) in enumerate(zip(series, times, strict=True)):
        with ledger.trial("study", "fit", "model", "market-test", {"n": number}, 1, "code", number) as trial:
            trial.complete({"sharpe": 0.0}, values, axis)
            names.append(trial.id)
    return ledger, names


def test_the_record_holds_every_trial_and_aligns_what_overlaps(tmp_path: Path) -> None:
    axis = np.arange(STEPS, dtype=np.int64)
    values = [noise(1, seed=n)[:, 0] for n in range(4)]
    # The second is longer, the third shares a tenth of the candidate's times, the fourth begins later.
    times = [axis, axis, axis + STEPS * 9 // 10, axis + STEPS // 5]
    ledger, names = ledger_with(tmp_path, values, times)
    with ledger:
        with (
            pytest.raises(ValueError, match="fails"),
            ledger.trial("study", "fit", "model", "market-test", {}, 1, "code"),
        ):
            raise ValueError("it fails")
        found = read_record(ledger, "market-test", names[0])
        assert found.record.trials == 5
        assert found.record.by_status == {"completed": 4, "failed": 1}
        assert found.record.used == (names[0], names[1], names[3])
        assert found.record.unused == 1
        assert found.record.gaps == ()
        assert found.own == 0
        assert np.array_equal(found.times_ns, axis[STEPS // 5 :])
        np.testing.assert_array_equal(found.matrix[:, 2], values[3][: -(STEPS // 5)])
        np.testing.assert_array_equal(found.matrix[:, 0], values[0][STEPS // 5 :])
        with pytest.raises(BadInputError, match="left no return series"):
            read_record(ledger, "market-test", "market-test:99")


def test_a_deleted_row_is_a_gap(tmp_path: Path) -> None:
    axis = np.arange(STEPS, dtype=np.int64)
    ledger, names = ledger_with(tmp_path, [noise(1, seed=n)[:, 0] for n in range(3)], [axis] * 3)
    with ledger:
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'trials.db'}")
        with engine.begin() as connection:
            connection.execute(sa.text("delete from trials where id = :id"), {"id": names[1]})
        engine.dispose()
        assert read_record(ledger, "market-test", names[0]).record.gaps


def rows(steps: int = 400, **economics: Any) -> Dataset:
    generator = np.random.default_rng(5)
    axis = np.arange(steps, dtype=np.int64)
    columns = {name: np.zeros(steps) for name in ECONOMICS} | economics
    features = generator.normal(size=(steps, 6)).astype(np.float32)
    return Dataset(
        ("EUR_USD",), np.zeros(steps, np.int64), axis, axis + 1, axis, np.ones(steps, np.int8), features,
        tuple("abcdef"), columns, steps + 5, 1,
    )  # fmt: skip


def test_higher_cost_takes_exactly_what_was_traded() -> None:
    generator = np.random.default_rng(6)
    dataset = rows(step_return=generator.normal(size=400) * 0.01, side_cost=np.full(400, 1e-4))
    positions = hold(dataset, np.arange(400), generator.normal(size=400), SizingParameters())
    once, thrice = earn(positions), earn(positions, 3.0)
    np.testing.assert_allclose(once.net - thrice.net, 2e-4 * once.traded, atol=1e-15)
    assert once.trades == thrice.trades


def test_features_that_changed_at_the_end_are_named() -> None:
    dataset = rows(2000)
    calm = drift_at_cutoff(dataset)
    assert calm.share <= 0.5
    moved = dataset.features.copy()
    moved[-100:, 2] += 3.0
    moved[-100:, 4] = np.nan
    drift = drift_at_cutoff(msgspec_replace(dataset, moved))
    assert {shift.feature for shift in drift.moved} >= {"c", "e"}
    assert drift.window_steps == 100


def msgspec_replace(dataset: Dataset, features: np.ndarray) -> Dataset:
    from dataclasses import replace

    return replace(dataset, features=features)


def test_the_ratios_and_logits_of_a_search_are_those_it_was_judged_by() -> None:
    matrix = noise(12, seed=9)
    found = search_evidence(matrix[:, 3], matrix, 12, 260.0, 100, 1)
    assert found.ratios == pytest.approx(tuple(matrix.mean(axis=0) / matrix.std(axis=0, ddof=1)))
    assert found.ratios[3] == pytest.approx(found.sharpe) and max(found.ratios) == found.best_sharpe
    assert found.logits is not None and found.overfitting is not None
    middle = found.logits.edges.index(0.0)
    assert sum(found.logits.counts) == found.splits
    assert sum(found.logits.counts[:middle]) / found.splits == pytest.approx(found.overfitting)


def test_a_thinned_path_loses_no_fall() -> None:
    generator = np.random.default_rng(8)
    net = generator.normal(size=5_000) * 0.01
    net[2_001:2_004] = -0.2  # a crash within one span, and back
    net[2_004:2_007] = 0.25
    zeros = np.zeros(5_000)
    performance = Performance(net, net, zeros, zeros, zeros, 0)
    path = equity_path("model", "candidate", np.arange(5_000, dtype=np.int64), performance)
    assert len(path.equity) == len(path.drawdown) == len(path.end_ns) == 240
    assert max(path.drawdown) == pytest.approx(performance.drawdown)
    assert path.equity[-1] == pytest.approx(performance.equity[-1]) and path.end_ns[-1] == 4_999
    short = equity_path("model", "candidate", np.arange(3, dtype=np.int64), Performance(*([net[:3]] * 5), trades=0))
    assert short.equity == pytest.approx(tuple(np.cumprod(1 + net[:3])))


def test_latency_is_of_one_row() -> None:
    asked: list[int] = []
    latency = measure_latency(lambda row: asked.append(len(row)), np.zeros((4, 1, 2), np.float32))
    assert set(asked) == {1} and len(asked) > latency.calls
    assert 0.0 < latency.median <= latency.p99


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"minimum_deflated": 0.9}, "there is no minimum_deflated"),
        ({"minimum_deflated_sharpe": 1.5}, r"minimum_deflated_sharpe must be in \[0, 1\]"),
        ({"stress_multiple": 0.5}, "at least 1"),
        ({"minimum_capacity": "much"}, "Expected `float"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        GatePolicy.from_params({"gate": given})


def test_intervals_of_rates_are_those_of_the_tables() -> None:
    # Clopper and Pearson: 10 of 200, and the rule of three's exact form for none of 200.
    found, none, every = rate(10, 200), rate(0, 200), rate(7, 7)
    assert found is not None and none is not None and every is not None
    assert (found.low, found.high) == pytest.approx((0.02423, 0.09003), abs=2e-5)
    assert none.low == 0.0 and none.high == pytest.approx(1.0 - 0.025 ** (1 / 200))
    assert every.high == 1.0 and every.low == pytest.approx(0.025 ** (1 / 7))
    assert rate(0, 0) is None
