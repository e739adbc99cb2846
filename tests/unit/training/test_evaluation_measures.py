"""Scores, intervals and profit against hand calculation."""

import numpy as np
import pytest

from trading.strategy.sizing import SizingParameters, target_fraction
from training.dataset import Dataset
from training.evaluation.bootstrap import BlockBootstrap
from training.evaluation.metrics import (
    brier_rows,
    calibration_error,
    hit_interval,
    log_loss_rows,
    reliability,
    skill_interval,
)
from training.evaluation.strategy import model_targets, momentum_targets, sharpe_interval, simulate
from training.labels import FLAT, LONG, SHORT
from training.models.baselines import PROBABILISTIC

LABELS = np.array([LONG, SHORT, FLAT, LONG], np.int8)
ANSWER = np.array([[0.2, 0.1, 0.7], [0.2, 0.1, 0.7], [0.3, 0.4, 0.3], [0.4, 0.2, 0.4]])
SIZING = SizingParameters(rebalance_threshold=0.1)


def dataset(times: list[int], instrument: list[int], step_return: list[float], side_cost: float) -> Dataset:
    count = len(times)
    flat = np.zeros(count)
    economics = {
        "net_long": flat, "net_short": flat, "cost_return": flat + 2 * side_cost, "side_cost": flat + side_cost,
        "step_return": np.array(step_return), "volatility": flat + 0.005, "trailing_return": flat,
    }  # fmt: skip
    time_ns = np.array(times, np.int64)
    return Dataset(
        ("A", "B"), np.array(instrument), time_ns, time_ns + 1, time_ns, np.ones(count, np.int8),
        np.zeros((count, 1), np.float32), ("f",), economics, 10**6, 1,
    )  # fmt: skip


def test_scores_of_single_rows() -> None:
    assert log_loss_rows(ANSWER, LABELS) == pytest.approx(-np.log([0.7, 0.2, 0.4, 0.4]))
    assert brier_rows(ANSWER, LABELS)[0] == pytest.approx(0.04 + 0.01 + 0.09)


def test_hits_count_moves_only_and_a_tie_is_half() -> None:
    interval = hit_interval(ANSWER, LABELS, np.arange(4), BlockBootstrap(4, 1, 50, 1))
    assert interval.value == pytest.approx((1 + 0 + 0.5) / 3)


def test_skill_is_zero_against_itself_and_negative_for_worse() -> None:
    bootstrap = BlockBootstrap(4, 2, 100, 1)
    losses = log_loss_rows(ANSWER, LABELS)
    same = skill_interval(losses, losses, np.arange(4), bootstrap)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert skill_interval(losses * 1.1, losses, np.arange(4), bootstrap).high == pytest.approx(-0.1)


def test_the_interval_covers_a_known_mean_under_autocorrelation() -> None:
    generator = np.random.default_rng(5)
    covered, naive = 0, 0
    for trial in range(150):
        shocks = generator.normal(size=640)
        series = np.zeros(640)
        for t in range(1, 640):
            series[t] = 0.6 * series[t - 1] + shocks[t]
        columns = np.column_stack([series, np.ones(640)])
        for block in (1, 20):
            interval = BlockBootstrap(640, block, 200, trial).interval(
                columns, lambda sums: sums[..., 0] / sums[..., 1]
            )
            inside = interval.low <= 0.0 <= interval.high
            covered, naive = covered + (inside and block == 20), naive + (inside and block == 1)
    assert covered >= 0.86 * 150
    assert naive < covered - 20  # single draws would be far too sure: the blocks are what makes it honest


def test_calibrated_answers_have_little_error_and_boastful_ones_much() -> None:
    generator = np.random.default_rng(2)
    answer = generator.dirichlet([4, 2, 4], size=20_000)
    labels = (answer.cumsum(axis=1) < generator.random((20_000, 1))).sum(axis=1).astype(np.int8)
    bins = reliability(answer, labels, 10)
    assert calibration_error(bins) < 0.01
    boastful = answer**3 / (answer**3).sum(axis=1, keepdims=True)
    assert calibration_error(reliability(boastful, labels, 10)) > 0.08
    assert sum(row["count"] for row in bins["long"]) == 20_000


def test_profit_is_position_times_move_less_what_trading_costs() -> None:
    made = dataset([1, 2, 3], [0, 0, 0], [0.01, -0.02, 0.03], side_cost=0.001)
    result = simulate(made, np.arange(3), np.array([1.0, 0.5, -0.5]), SIZING)
    assert result.gross == pytest.approx([0.01, -0.01, -0.015])
    assert result.cost == pytest.approx([0.001, 0.0005, 0.001 + 0.0005])  # the last step also closes
    assert result.trades == 4
    assert result.traded.sum() == pytest.approx(1 + 0.5 + 1 + 0.5)
    assert result.equity[-1] == pytest.approx((1 + 0.009) * (1 - 0.0105) * (1 - 0.0165))


def test_small_changes_are_not_traded_and_missing_bars_hold() -> None:
    made = dataset([1, 1, 2, 3, 3], [0, 1, 0, 0, 1], [0.0, 0.02, 0.0, 0.01, 0.01], side_cost=0.0)
    result = simulate(made, np.arange(5), np.array([0.5, 1.0, 0.55, 0.0, 1.0]), SIZING)
    assert result.traded == pytest.approx([1.5, 0.0, 0.5 + 1.0])
    assert result.gross == pytest.approx([0.02, 0.0, 0.01])


def test_models_are_traded_by_the_traders_own_sizing() -> None:
    volatility, cost = np.full(4, 0.005), np.full(4, 0.0001)
    targets = model_targets(ANSWER, volatility, cost, SIZING)
    one_by_one = [target_fraction(row[SHORT], row[LONG], 0.005, 0.0001, SIZING) for row in ANSWER]
    assert targets.tolist() == one_by_one
    assert targets[0] > 0 and targets[3] == 0


def test_trend_following_scales_with_volatility() -> None:
    trailing = np.array([0.01, -0.01, np.nan, 0.01])
    targets = momentum_targets(trailing, np.array([0.05, 0.05, 0.05, np.nan]), SIZING)
    size = 0.08 / (0.05 * np.sqrt(260))
    assert targets == pytest.approx([size, -size, 0.0, 0.0])


def test_a_strategy_that_never_moves_has_a_sharpe_of_zero() -> None:
    made = dataset([1, 2, 3], [0, 0, 0], [0.01, -0.02, 0.03], side_cost=0.001)
    nothing = simulate(made, np.arange(3), np.zeros(3), SIZING)
    interval = sharpe_interval(nothing, 260.0, BlockBootstrap(3, 1, 20, 1))
    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_baselines_learn_from_training_rows_only() -> None:
    made = dataset([1, 2, 3, 4], [0, 1, 0, 1], [0.0] * 4, 0.0)
    for baseline in PROBABILISTIC:
        before = baseline.predict(made, np.array([0, 1]), np.array([2, 3]))
        made.label[2:] = LONG
        after = baseline.predict(made, np.array([0, 1]), np.array([2, 3]))
        made.label[2:] = FLAT
        assert np.array_equal(before, after)
        assert before.sum(axis=1) == pytest.approx(1.0)


def test_compiled_positions_are_those_of_the_traders_own_rebalancing() -> None:
    from trading.strategy.sizing import SizingParameters, rebalance
    from training.dataset import Dataset
    from training.evaluation.strategy import simulate

    generator = np.random.default_rng(3)
    steps, count = 120, 9
    time, instrument = np.repeat(np.arange(steps), count), np.tile(np.arange(count), steps)
    kept = generator.random(steps * count) < 0.9  # an instrument without a bar keeps its position
    time, instrument = time[kept], instrument[kept]
    rows = len(time)
    economics = {"step_return": generator.normal(size=rows) * 0.01, "side_cost": generator.random(rows) * 1e-4}
    dataset = Dataset(
        tuple(str(n) for n in range(count)), instrument, time, time + 1, time, np.zeros(rows, np.int8),
        np.zeros((rows, 1), np.float32), ("a",), economics, 10**9, 1,
    )  # fmt: skip
    targets = generator.normal(size=rows) * 0.3 * (generator.random(rows) > 0.2)
    sizing = SizingParameters()
    found = simulate(dataset, np.arange(rows), targets, sizing)
    held, cost, gross, trades, last = np.zeros(count), 0.0, 0.0, 0, np.zeros(count)
    for row in range(rows):
        here = instrument[row]
        wanted = rebalance(float(held[here]), float(targets[row]), sizing)
        trades += wanted != held[here]
        cost += abs(wanted - held[here]) * economics["side_cost"][row]
        gross += wanted * economics["step_return"][row]
        held[here], last[here] = wanted, economics["side_cost"][row]
    assert found.trades == trades + np.count_nonzero(held)
    np.testing.assert_allclose(found.cost.sum(), cost + (np.abs(held) * last).sum(), rtol=1e-12)
    np.testing.assert_allclose(found.gross.sum(), gross, rtol=1e-12)
