"""The drift verdict keeps its false-alarm rate on autocorrelated data and sees a real change."""

import numpy as np
import pandas as pd
import pytest

from core.errors import BadInputError
from monitoring.drift.assess import assess
from monitoring.drift.statistics import bin_codes, calibrate, decile_edges, population_stability_index, shares

COLUMNS = [f"feature_{i}" for i in range(12)]


def _autocorrelated(rng: np.random.Generator, steps: int, persistence: float = 0.97) -> np.ndarray:
    noise = rng.standard_normal((steps, len(COLUMNS))) * np.sqrt(1 - persistence**2)
    values = np.zeros_like(noise)
    values[0] = rng.standard_normal(len(COLUMNS))
    for t in range(1, steps):
        values[t] = persistence * values[t - 1] + noise[t]
    return values


def _frame(values: np.ndarray, start: str) -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=COLUMNS)
    frame.insert(0, "event_timestamp", pd.date_range(start, periods=len(values), freq="h", tz="UTC"))
    return frame


def test_no_change_rarely_alarms_although_the_series_is_autocorrelated() -> None:
    alarms = 0
    for seed in range(40):
        values = _autocorrelated(np.random.default_rng(seed), 3000)
        verdict = assess(_frame(values[:2750], "2020-01-01"), _frame(values[2750:], "2020-06-01"), COLUMNS)
        alarms += verdict.drifted
    # 5 % of 40 is 2; a naive test fires on nearly all of them. 7 or more has probability below 0.4 %.
    assert alarms <= 6


def test_a_shifted_mean_is_seen_and_named() -> None:
    values = _autocorrelated(np.random.default_rng(1), 3000, persistence=0.5)
    live = values[2750:].copy()
    live[:, :6] += 1.5
    verdict = assess(_frame(values[:2750], "2020-01-01"), _frame(live, "2020-06-01"), COLUMNS)
    assert verdict.drifted
    assert {f.feature for f in verdict.features if f.drifted} >= set(COLUMNS[:6])
    assert "drift: " in verdict.words


def test_a_feature_that_goes_missing_is_drift() -> None:
    values = _autocorrelated(np.random.default_rng(2), 3000, persistence=0.5)
    live = values[2750:].copy()
    live[:, 3] = np.nan
    verdict = assess(_frame(values[:2750], "2020-01-01"), _frame(live, "2020-06-01"), COLUMNS)
    assert next(f for f in verdict.features if f.feature == "feature_3").drifted


def test_windows_by_cumulative_counts_equal_windows_counted_directly() -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal((300, 4))
    values[rng.random(values.shape) < 0.1] = np.nan
    steps = np.repeat(np.arange(100), 3)
    calibration = calibrate(values, steps, window_steps=20, maximum_windows=1000)
    edges = decile_edges(values)
    codes = bin_codes(values, edges)
    assert calibration.historical.shape == (81, 4)
    for start in (0, 17, 80):
        rows = (steps >= start) & (steps < start + 20)
        direct = population_stability_index(shares(codes), shares(codes[rows]))
        np.testing.assert_allclose(calibration.historical[start], direct, rtol=1e-12)


@pytest.mark.parametrize(
    ("reference_rows", "live_rows", "word"), [(100, 80, "shorter"), (0, 10, "no rows"), (100, 0, "no rows")]
)
def test_unusable_windows_are_refused_in_one_line(reference_rows: int, live_rows: int, word: str) -> None:
    values = np.random.default_rng(4).standard_normal((200, len(COLUMNS)))
    with pytest.raises(BadInputError, match=word) as caught:
        assess(_frame(values[:reference_rows], "2020-01-01"), _frame(values[:live_rows], "2021-01-01"), COLUMNS)
    assert "\n" not in caught.value.message


def test_a_missing_feature_is_named() -> None:
    frame = _frame(np.zeros((50, len(COLUMNS))), "2020-01-01")
    with pytest.raises(BadInputError, match="feature_7"):
        assess(frame, frame.drop(columns="feature_7"), COLUMNS)
