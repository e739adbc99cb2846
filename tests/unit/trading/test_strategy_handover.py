"""Versions that bring strategy parameters: sized by whose prediction is traded, handed over without an order storm."""

import msgspec
import numpy as np
import pytest

from core.domain import Prediction, StrategyShare
from core.errors import RefusedError
from trading import records
from trading.strategy.handover import check_strategies, own_sizings, sizing_of
from trading.strategy.sizing import SizingParameters, held_fraction, rebalance, target_fraction

SESSION = SizingParameters()


def said(*shares: StrategyShare, instrument: str = "EUR_USD") -> Prediction:
    return Prediction("d", instrument, 1, 0.2, 0.3, 0.5, "m", "4", "f" * 64, strategy=shares)


def test_a_version_without_parameters_changes_nothing_not_even_the_journal() -> None:
    plain = said()
    assert own_sizings(SESSION, {"EUR_USD": plain}) == {}
    written = records.encode(records.PredictionsMade(1, (plain,)))
    assert b"strategy" not in written and b"alternatives" not in written


def test_shares_come_back_from_the_journal() -> None:
    made = records.PredictionsMade(1, (said(StrategyShare(0.25, (("kelly_fraction", 0.1),)), StrategyShare(0.75)),))
    content = records.encode(made)
    assert msgspec.msgpack.decode(content, type=records.PredictionsMade) == made


def test_each_instrument_is_sized_as_its_version_was_made_for() -> None:
    shares = StrategyShare(1.0, (("kelly_fraction", 0.1), ("target_volatility", 0.05)))
    found = own_sizings(SESSION, {"EUR_USD": said(), "GBP_USD": said(shares, instrument="GBP_USD")})
    expected = msgspec.structs.replace(SESSION, kelly_fraction=0.1, target_volatility=0.05)
    assert found == {"GBP_USD": expected}


def test_a_blend_goes_in_a_straight_line_from_one_set_to_the_other() -> None:
    before, after = (("kelly_fraction", 0.2),), (("horizon", 5.0), ("target_volatility", 0.04))
    for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
        sizing = sizing_of(SESSION, (StrategyShare(1.0 - weight, before), StrategyShare(weight, after)))
        # What one of the two does not name is the session's for it.
        assert sizing.kelly_fraction == pytest.approx((1 - weight) * 0.2 + weight * SESSION.kelly_fraction)
        assert sizing.target_volatility == pytest.approx((1 - weight) * SESSION.target_volatility + weight * 0.04)
        assert sizing.horizon == (5 if weight > 0.5 else SESSION.horizon)
        assert sizing.rebalance_threshold == SESSION.rebalance_threshold


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((("kelly", 0.1),), "'kelly' is unknown"),
        ((("kelly_fraction", 2.0),), "kelly_fraction must be in"),
        ((("target_volatility", float("nan")),), "is no number"),
        ((("horizon", 0.0),), "horizon must be above 0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(values: tuple[tuple[str, float], ...], words: str) -> None:
    with pytest.raises(RefusedError, match=f"model version 4: .*{words}"):
        check_strategies(SESSION, [said(), said(StrategyShare(1.0, values))])


def turnover(kind: str, seed: int, brought: dict[str, float]) -> np.ndarray:
    """Return the summed moves of 28 instruments a step, float64 [130]; the hand-over begins at step 100.

    Two forecasters share half of what they know; both halves are autoregressive with 0.9.
    """
    generator = np.random.default_rng(seed)
    shared, one, other = np.zeros((3, 28))
    held, moves = np.zeros(28), np.zeros(130)
    for step in range(130):
        shared, one, other = (0.9 * old + 0.436 * generator.normal(size=28) for old in (shared, one, other))
        weight = {"none": 0.0, "abrupt": float(step >= 100), "blend": min(max((step - 100) / 24, 0.0), 1.0)}[kind]
        forecasts: list[np.ndarray] = []
        for signal in (shared + one, shared + other):
            odds = np.exp(np.stack([-0.35 * signal, np.full(28, 0.3), 0.35 * signal], axis=1))
            forecasts.append(odds / odds.sum(axis=1, keepdims=True))
        mixed = (1.0 - weight) * forecasts[0] + weight * forecasts[1]
        shares = (StrategyShare(1.0 - weight), StrategyShare(weight, tuple(brought.items())))
        sizing = sizing_of(SESSION, shares)
        targets = target_fraction(mixed[:, 0], mixed[:, 2], np.full(28, 0.004), np.full(28, 0.0002), sizing)
        kept = [
            held_fraction(float(have), float(want), float(row[0]), float(row[2]), 0.004, 0.0002, sizing)
            for have, want, row in zip(held, targets, mixed, strict=True)
        ]
        after = rebalance(held, np.array(kept), sizing)
        moves[step], held = np.abs(after - held).sum(), after
    return moves


@pytest.mark.parametrize("brought", [{}, {"target_volatility": 0.04, "kelly_fraction": 0.1}])
def test_a_hand_over_by_blend_moves_no_more_than_an_ordinary_step_and_a_switch_does(brought: dict[str, float]) -> None:
    """The worst step of the hand-over beside the worst of the thirty before it, mean of eight markets."""
    worst = {
        kind: np.mean([(moves[100:].max(), moves[70:100].max()) for moves in runs], axis=0)
        for kind in ("abrupt", "blend")
        if (runs := [turnover(kind, seed, brought) for seed in range(8)])
    }
    assert worst["abrupt"][0] > 1.3 * worst["abrupt"][1]
    assert worst["blend"][0] < 1.15 * worst["blend"][1]
