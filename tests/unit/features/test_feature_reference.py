"""Each feature of the compiled kernel against an independent slow reference, with missing rows and missing prices."""

import numpy as np
import pandas as pd
import pytest
import slow_features

from core.domain import INPUT_COLUMNS, BarKind, Panel
from features.batch import compute
from features.bench import made_panel
from features.kernel import COLUMNS
from features.sets import feature_set

INSTRUMENTS = ("EUR_GBP", "EUR_USD", "GBP_USD", "USD_JPY")
STEPS = 700


def holed_panel() -> Panel:
    panel = made_panel(STEPS, INSTRUMENTS, seed=5)
    generator = np.random.default_rng(6)
    missing = generator.random((STEPS, len(INSTRUMENTS))) < 0.07
    missing[100] = True  # a step without any bar
    panel.values[missing] = np.nan
    panel.values[generator.random((STEPS, len(INSTRUMENTS))) < 0.05, 1] = np.nan  # no bid_high
    panel.values[generator.random((STEPS, len(INSTRUMENTS))) < 0.05, 8] = np.nan  # no ticks
    return panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    return holed_panel()


@pytest.fixture(scope="module")
def expected(panel: Panel) -> dict[str, pd.DataFrame]:
    """The slow features per instrument on all steps; NaN where the instrument has no bar."""
    own: dict[str, dict[str, pd.Series]] = {}
    for index, name in enumerate(panel.instruments):
        rows = pd.DataFrame(panel.values[:, index], columns=list(INPUT_COLUMNS))
        rows = rows[rows["bid_close"].notna()]
        times = [int(panel.time_ns[step]) for step in rows.index]
        p = np.log((rows["bid_close"] + rows["ask_close"]) / 2)
        found = slow_features.price_features(p, times)
        found |= slow_features.bar_features(rows, p, found["volatility_21"], times)
        own[name] = {column: series.reindex(range(STEPS)) for column, series in found.items()}
    for horizon in (1, 5, 21):
        returns = {name: own[name][f"return_{horizon}"] for name in own}
        for name, columns in slow_features.strengths(returns, horizon).items():
            own[name] |= columns
    return {name: pd.DataFrame(columns) for name, columns in own.items()}


@pytest.fixture(scope="module")
def actual(panel: Panel) -> np.ndarray:
    return compute(panel, feature_set("bars"))[0]


def test_reference_covers_every_column(expected: dict[str, pd.DataFrame]) -> None:
    for frame in expected.values():
        assert sorted(frame.columns) == sorted(COLUMNS)


@pytest.mark.parametrize("column", COLUMNS)
def test_column(column: str, panel: Panel, expected: dict[str, pd.DataFrame], actual: np.ndarray) -> None:
    position = COLUMNS.index(column)
    warm_up = feature_set("bars").warm_up[position]
    for index, name in enumerate(panel.instruments):
        slow = expected[name][column].to_numpy()
        fast = actual[:, index, position]
        rows = np.flatnonzero(~np.isnan(panel.values[:, index, 3]))
        assert np.isnan(fast[rows[:warm_up]]).all(), "a value before the documented warm-up"
        assert np.isnan(fast[np.setdiff1d(np.arange(STEPS), rows)]).all(), "a value without a bar"
        warm = rows[warm_up:]
        np.testing.assert_allclose(fast[warm], slow[warm], rtol=1e-8, atol=1e-12)
        assert (~np.isnan(fast[warm])).mean() > 0.8, "hardly any value"


def test_fixings_are_a_prefix_of_bars(panel: Panel, actual: np.ndarray) -> None:
    closing = feature_set("fixings")
    np.testing.assert_array_equal(compute(panel, closing)[0], actual[:, :, : len(closing.columns)])


def test_fixing_panel_has_every_close_feature() -> None:
    made = made_panel(300, INSTRUMENTS)
    values = np.full_like(made.values, np.nan)
    values[:, :, 3] = values[:, :, 7] = np.round(made.values[:, :, 3], 5)
    fixings = Panel(INSTRUMENTS, made.time_ns, made.arrival_ns, values, BarKind.FIXING)
    features, _ = compute(fixings, feature_set("fixings"))
    assert not np.isnan(features[252:]).any()


@pytest.mark.parametrize("bad", [np.inf, -1.0, 0.0])
def test_unusable_price_is_no_bar(bad: float) -> None:
    made = made_panel(80, INSTRUMENTS)
    holed = made.values.copy()
    holed[50, 1] = np.nan
    spoilt = made.values.copy()
    spoilt[50, 1, 3] = bad
    results = [
        compute(Panel(INSTRUMENTS, made.time_ns, made.arrival_ns, values, made.kind), feature_set("bars"))[0]
        for values in (holed, spoilt)
    ]
    np.testing.assert_array_equal(results[0], results[1])


def test_dead_market_gives_no_infinite_value() -> None:
    made = made_panel(600, INSTRUMENTS)
    values = made.values.copy()
    values[20:] = values[20]
    features, _ = compute(Panel(INSTRUMENTS, made.time_ns, made.arrival_ns, values, made.kind), feature_set("bars"))
    assert not np.isinf(features).any()
