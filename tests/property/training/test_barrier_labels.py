"""Triple-barrier labels over random paths: against a slow reading of the rules, the fixed horizon, and the future."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import INPUT_COLUMNS, BarKind, Panel
from training.label_parameters import BarrierParameters, LabelParameters
from training.labels import FLAT, LONG, SHORT, make_labels
from training.weights import average_uniqueness

SEEDS = st.integers(0, 2**32 - 1)
COSTS = {"slippage_pips": 0.1, "commission_per_million": 15}
FAR = 10**18
PIP = {"EUR_USD": 1e-4, "USD_JPY": 1e-2}


def random_panel(seed: int, steps: int = 70) -> Panel:
    """Return two pairs with gaps between bars, missing bars, and spreads that change inside a bar."""
    generator = np.random.default_rng(seed)
    scale = np.array([1e-4, 1e-2])
    close = np.array([1.1, 110.0]) + scale * np.cumsum(generator.normal(scale=6.0, size=(steps, 2)), axis=0)
    opening = close + scale * generator.normal(scale=6.0, size=(steps, 2))
    values = np.empty((steps, 2, len(INPUT_COLUMNS)))
    reach = scale * np.abs(generator.normal(scale=4.0, size=(2, steps, 2)))
    for position, price in enumerate(
        (opening, np.maximum(opening, close) + reach[0], np.minimum(opening, close) - reach[1], close)
    ):
        half = scale * (0.2 + generator.random((steps, 2)))
        values[:, :, position], values[:, :, position + 4] = price - half, price + half
    values[:, :, 8] = 1.0
    values[generator.random((steps, 2)) < 0.15] = np.nan
    time_ns = np.cumsum(generator.integers(1, 9, size=steps)).astype(np.int64) * 1_000_000
    arrival = np.where(np.isnan(values[:, :, 0]), 0, time_ns[:, None])
    return Panel(("EUR_USD", "USD_JPY"), time_ns, arrival, values, BarKind.BAR)


def slow_trade(
    bars: np.ndarray, t: int, horizon: int, side: int, target: float, stop: float
) -> tuple[int, float, float]:
    """Return the last bar of a trade, its exit price and the half spread there; everything from the trade's own view.

    A short is a long in a market turned upside down: bids become negative asks.
    """
    if side < 0:
        bars = -bars[:, [4, 6, 5, 7, 0, 2, 1, 3]]
    opening, high, low, close = bars[:, 0], bars[:, 1], bars[:, 2], bars[:, 3]  # what the trade can sell at
    entry = bars[t, 7]
    for s in range(t + 1, t + horizon + 1):
        half = (bars[s, 7] - bars[s, 3]) / 2
        highest, lowest = max(high[s], opening[s], close[s]), min(low[s], opening[s], close[s])
        if opening[s] >= entry + target:
            return s, entry + target, half
        if lowest <= entry - stop:
            return s, min(entry - stop, opening[s]), half
        if highest >= entry + target:
            return s, entry + target, half
    last = t + horizon
    return last, close[last], (bars[last, 7] - bars[last, 3]) / 2


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 8), st.sampled_from([0.0, 4.0, 9.0]), st.sampled_from([0.0, 4.0, 12.0]))
def test_the_kernel_agrees_with_a_slow_reading_of_the_rules(
    seed: int, horizon: int, target: float, stop: float
) -> None:
    if not target and not stop:
        return
    panel = random_panel(seed)
    options = LabelParameters(horizon, 1.5, "triple_barrier", BarrierParameters(target, stop, "pips"))
    made = make_labels(panel, COSTS, options, FAR)
    assert made.outcomes is not None and made.end_bar is not None
    for row in range(len(made.label)):
        name = made.instruments[made.instrument[row]]
        own = np.flatnonzero(~np.isnan(panel.values[:, made.instrument[row], 3]))
        bars = panel.values[own, made.instrument[row], :8]
        t, pip = int(made.bar[row]), PIP[name]
        middle = (bars[t, 3] + bars[t, 7]) / 2
        ends, pays = [], []
        for side, net in ((1, made.net_long[row]), (-1, made.net_short[row])):
            distances = (target * pip or np.inf, stop * pip or np.inf)
            end, price, half = slow_trade(bars, t, horizon, side, *distances)
            entry = bars[t, 7] if side > 0 else -bars[t, 3]
            exit_middle = abs(price + half)
            fees = 2 * 0.1 * pip + 15e-6 * (middle + exit_middle)
            assert net * middle == pytest.approx(price - entry - fees, abs=1e-9)
            round_trip = (bars[t, 7] - bars[t, 3]) / 2 + half + fees
            gross = price - entry + (bars[t, 7] - bars[t, 3]) / 2 + half
            ends.append(end)
            pays.append(gross > 1.5 * round_trip)
        long_first = pays[0] and (not pays[1] or ends[0] < ends[1])
        short_first = pays[1] and (not pays[0] or ends[1] < ends[0])
        assert made.label[row] == (LONG if long_first else SHORT if short_first else FLAT)
        assert made.end_bar[row] == max(ends)
        assert made.label_end_ns[row] == panel.time_ns[own[max(ends)]]


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 6), st.floats(0.5, 3.0))
def test_barriers_out_of_reach_are_the_fixed_horizon_to_the_bit(seed: int, horizon: int, edge: float) -> None:
    panel = random_panel(seed)
    far = BarrierParameters(1e7, 1e7, "pips")
    barrier = make_labels(panel, COSTS, LabelParameters(horizon, edge, "triple_barrier", far), FAR)
    fixed = make_labels(panel, COSTS, LabelParameters(horizon, edge), FAR)
    for name in ("label", "label_end_ns", "net_long", "net_short", "bar", "volatility", "side_cost", "step_return"):
        assert np.array_equal(getattr(barrier, name), getattr(fixed, name), equal_nan=True), name
    assert fixed.end_bar is None and np.array_equal(barrier.end_bar - barrier.bar, np.full(len(fixed.bar), horizon))


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(2, 8))
def test_prices_after_a_label_ended_do_not_change_it(seed: int, horizon: int) -> None:
    panel = random_panel(seed)
    options = LabelParameters(horizon, kind="triple_barrier")
    before = make_labels(panel, COSTS, options, FAR)
    cut = int(before.time_ns[len(before.time_ns) // 2])
    values = panel.values.copy()
    values[panel.time_ns > cut] *= 1.2
    after = make_labels(
        Panel(panel.instruments, panel.time_ns, panel.arrival_ns, values, panel.kind), COSTS, options, FAR
    )
    done = before.label_end_ns <= cut
    assert done.any()
    for name in ("label", "net_long", "net_short", "label_end_ns"):
        assert np.array_equal(getattr(before, name)[done], getattr(after, name)[done]), name


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_uniqueness_of_spans_of_varying_length_equals_its_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    instrument = np.repeat([0, 1], 15)
    bar = np.concatenate([np.sort(generator.choice(40, 15, replace=False)) for _ in range(2)]).astype(np.int64)
    length = generator.integers(1, 9, size=30)
    weights = average_uniqueness(instrument, bar, length)
    for row in range(30):
        mates = np.flatnonzero(instrument == instrument[row])
        alive = [
            sum(bar[m] < s <= bar[m] + length[m] for m in mates)
            for s in range(bar[row] + 1, bar[row] + length[row] + 1)
        ]
        assert weights[row] == pytest.approx(np.mean([1 / count for count in alive]))
