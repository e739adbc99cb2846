"""Calibration error: the plain one in a loop, what debiasing removes, and when 0 is believed."""

import numpy as np
import pytest

from core.errors import BadInputError
from training.statistics.calibration import calibration_error


def answers(shift: float, rows: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return forecasts that are ``shift`` too far from a half, and what happened."""
    generator = np.random.default_rng(seed)
    truth = np.clip(generator.beta(4, 4, rows), 0.15, 0.85)
    return truth + shift * np.sign(truth - 0.5), (generator.random(rows) < truth).astype(int)


@pytest.mark.parametrize(("norm", "power"), [("l1", 1.0), ("l2", 2.0)])
def test_the_plain_error_is_that_of_a_loop(norm: str, power: float) -> None:
    forecast, happened = answers(0.05)
    order = np.argsort(forecast)
    total = 0.0
    for part in np.array_split(order, 10):
        total += len(part) / len(order) * abs(forecast[part].mean() - happened[part].mean()) ** power
    found = calibration_error(forecast, happened, norm=norm, draws=100)  # type: ignore[arg-type]
    assert found.plain == pytest.approx(total ** (1.0 / power), rel=1e-3)


def test_the_noise_of_a_calibrated_forecast_is_taken_off() -> None:
    values = [calibration_error(*answers(0.0, seed=seed), draws=150, seed=seed) for seed in range(30)]
    assert np.mean([value.plain for value in values]) > 0.02
    assert np.mean([value.value for value in values]) < 0.6 * np.mean([value.plain for value in values])
    # 0 is the truth: a 95 % interval leaves it out in one of twenty, so more than 5 of 30 has a chance of 0.3 %.
    assert sum(value.low > 0.0 for value in values) <= 5
    assert sum(value.p_value < 0.05 for value in values) <= 5


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_planted_error_is_measured(norm: str) -> None:
    values = [calibration_error(*answers(0.08, seed=s), draws=150, norm=norm, seed=s) for s in range(20)]  # type: ignore[arg-type]
    assert np.mean([value.value for value in values]) == pytest.approx(0.08, abs=0.012)
    assert sum(value.low <= 0.08 <= value.high for value in values) >= 15
    assert all(value.low > 0.0 and value.p_value < 0.01 for value in values)


def test_several_classes_are_the_mean_of_each_and_share_their_draws() -> None:
    generator = np.random.default_rng(4)
    probabilities = generator.dirichlet([3.0, 4.0, 3.0], 1500)
    outcomes = (generator.random(1500)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    whole = calibration_error(probabilities, outcomes, block=4, draws=200, seed=9)
    single = [
        calibration_error(probabilities[:, k], (outcomes == k).astype(int), block=4, draws=200, seed=9)
        for k in range(3)
    ]
    assert whole.plain == pytest.approx(np.mean([one.plain for one in single]))
    assert whole.value == pytest.approx(np.mean([one.value for one in single]))
    for ours, one in zip(whole.classes, single, strict=True):
        assert (ours.value, ours.low, ours.high) == pytest.approx((one.value, one.low, one.high))


def test_rows_of_one_time_are_drawn_together() -> None:
    """Ten instruments that always agree are one piece of evidence, not ten."""
    forecast, happened = answers(0.06, 400, seed=5)
    forecast, happened = np.repeat(forecast, 10), np.repeat(happened, 10)
    alone = calibration_error(forecast, happened, draws=300)
    together = calibration_error(forecast, happened, times=np.repeat(np.arange(400), 10), draws=300)
    assert together.plain == pytest.approx(alone.plain)
    assert together.high - together.low > 2.0 * (alone.high - alone.low)
    assert together.value < alone.value
    assert together.p_value > alone.p_value


def test_equal_forecasts_share_a_bin() -> None:
    found = calibration_error(np.full(400, 0.5), np.tile([0, 0, 0, 1], 100), draws=100)
    assert found.plain == pytest.approx(0.25)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bins": 0}, "bins"),
        ({"draws": 10}, "draws"),
        ({"norm": "max"}, "no norm"),
        ({"times": [1, 2]}, "one time a row"),
        ({"confidence": 0.0}, "confidence"),
        ({"block": 0.0}, "block of 0"),
    ],
)
def test_bad_requests_are_refused(arguments: dict[str, object], said: str) -> None:
    forecast, happened = answers(0.0, 50)
    with pytest.raises(BadInputError, match=said):
        calibration_error(forecast, happened, **arguments)  # type: ignore[arg-type]


def test_the_diagram_holds_every_row_and_its_intervals_hold_the_truth() -> None:
    """Bins of a perfect forecast: what happened is counted exactly, and what was said lies within most intervals."""
    forecast, happened = answers(0.0, 4000, seed=11)
    found = calibration_error(forecast, happened, draws=400, seed=2)
    bins = found.diagrams[0]
    assert sum(one.rows for one in bins) == 4000 and len(bins) == 10
    edges = np.quantile(forecast, np.arange(1, 10) / 10)
    first = forecast < edges[0]
    assert bins[0].forecast == pytest.approx(forecast[first].mean())
    assert bins[0].frequency == pytest.approx(happened[first].mean())
    assert all(one.low <= one.frequency <= one.high for one in bins)
    assert sum(one.low <= one.forecast <= one.high for one in bins) >= 8
    off, _ = answers(0.0, 4000, seed=11)
    shifted = calibration_error(np.clip(off + 0.1, 0.0, 1.0), happened, draws=400, seed=2).diagrams[0]
    assert sum(one.high < one.forecast for one in shifted) >= 8
