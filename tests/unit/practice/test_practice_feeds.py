"""Feeds: exact boundaries, nothing from the future, the same ticks every time, and market hours."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from panels_made_up import DAY, FIRST, NAMES, bar_panel, fixing_panel

from core.clock import from_rfc3339
from core.domain import INPUT_COLUMNS, Panel, default_instrument, mid_price
from core.errors import BadInputError
from trading.practice.feeds.bars import BarsFeed
from trading.practice.feeds.build import half_spread_points
from trading.practice.feeds.fixings import FixingsFeed
from trading.practice.feeds.hours import open_stretches, spread_over
from trading.practice.feeds.simulation import SimulationFeed

INSTRUMENTS = {name: default_instrument(name) for name in NAMES}
POINTS = {"EUR_JPY": 9, "EUR_USD": 6}


def fixings(panel: Panel, start_row: int = 25, seed: int = 7) -> FixingsFeed:
    start_ns = int(panel.time_ns[start_row])
    return FixingsFeed(panel, INSTRUMENTS, start_ns=start_ns, bridge_ticks=8, half_spread_points=POINTS, seed=seed)


def test_every_fixing_is_hit_bit_for_bit_at_its_time() -> None:
    panel = fixing_panel()
    feed = fixings(panel)
    steps = list(feed.steps(0, {}))
    assert [step.time_ns for step in steps] == panel.time_ns[25:].tolist()
    close = INPUT_COLUMNS.index("bid_close")
    for row, step in enumerate(steps, start=25):
        assert len(step.quotes) == 2 * 9
        assert [quote.time_ns for quote in step.quotes] == sorted(quote.time_ns for quote in step.quotes)
        for column, quote in enumerate(step.quotes[-2:]):
            precision = INSTRUMENTS[quote.instrument].display_precision
            assert quote.time_ns == panel.time_ns[row] and quote.instrument == NAMES[column]
            assert mid_price(quote.bid, quote.ask, precision) == panel.values[row, column, close]
        for quote in step.quotes:
            item = INSTRUMENTS[quote.instrument]
            assert quote.simulated and quote.tradeable
            assert panel.time_ns[row - 1] < quote.time_ns <= panel.time_ns[row]
            assert round((quote.ask - quote.bid) / float(item.tick)) == 2 * POINTS[quote.instrument]
            assert float(item.round_price(quote.bid)) == quote.bid  # whole points


def test_the_opening_quotes_are_the_last_fixings_before_the_start() -> None:
    panel = fixing_panel(holes=((24, 1),))
    feed = fixings(panel)
    assert feed.start_ns == panel.time_ns[24]
    for column, quote in enumerate(feed.opening()):
        row = 24 if column == 0 else 23
        precision = INSTRUMENTS[quote.instrument].display_precision
        assert mid_price(quote.bid, quote.ask, precision) == panel.values[row, column, 3]


def test_ticks_repeat_and_depend_on_the_seed_only() -> None:
    panel = fixing_panel()
    first, again = list(fixings(panel).steps(0, {})), list(fixings(panel).steps(0, {}))
    assert first == again
    assert list(fixings(panel).steps(5, {})) == first[5:]  # going on after a restart
    assert list(fixings(panel, seed=8).steps(0, {})) != first


def test_a_bridge_knows_no_later_fixing_than_its_own() -> None:
    """The simulated path may end at the coming fixing, by construction; nothing later may move it."""
    panel = fixing_panel()
    changed = panel.values.copy()
    changed[30:, :, [3, 7]] *= 1.01
    other = fixings(replace(panel, values=changed))
    for here, there in zip(itertools.islice(fixings(panel).steps(0, {}), 5), other.steps(0, {}), strict=False):
        assert here == there


def test_the_bridge_has_the_trailing_volatility() -> None:
    panel = fixing_panel(rows=400)
    feed = FixingsFeed(
        panel, INSTRUMENTS, start_ns=int(panel.time_ns[200]), bridge_ticks=63, half_spread_points=POINTS, seed=1
    )
    moves: list[float] = []
    for step in feed.steps(0, {}):
        middles = [(q.bid + q.ask) / 2 for q in step.quotes if q.instrument == "EUR_USD"]
        moves += np.diff(np.log(middles)).tolist()
    assert np.std(moves) == pytest.approx(0.006 / 8, rel=0.1)  # 64 moves a day


def test_a_missing_fixing_leaves_the_quote_standing() -> None:
    panel = fixing_panel(holes=((27, 0),))
    steps = list(fixings(panel).steps(0, {}))
    assert {quote.instrument for quote in steps[2].quotes} == {"EUR_USD"}
    assert {quote.instrument for quote in steps[3].quotes} == set(NAMES)


def test_starts_without_data_are_refused() -> None:
    panel = fixing_panel()
    with pytest.raises(BadInputError, match="no fixing at or after"):
        FixingsFeed(
            panel, INSTRUMENTS, start_ns=int(panel.time_ns[-1]) + 1, bridge_ticks=8, half_spread_points=POINTS, seed=1
        )
    with pytest.raises(BadInputError, match="EUR_JPY"):
        fixings(fixing_panel(holes=tuple((row, 0) for row in range(25))))
    with pytest.raises(BadInputError, match="no bar"):
        bars = bar_panel()
        BarsFeed(bars, INSTRUMENTS, start_ns=int(bars.time_ns[0]), half_spread_points=POINTS)


def test_bars_rebuilt_from_the_ticks_are_the_recorded_ones() -> None:
    panel = bar_panel()
    feed = BarsFeed(panel, INSTRUMENTS, start_ns=int(panel.time_ns[5]), half_spread_points=POINTS)
    for row, step in enumerate(feed.steps(0, {}), start=5):
        assert step.time_ns == panel.time_ns[row]
        for column, name in enumerate(NAMES):
            quotes = [quote for quote in step.quotes if quote.instrument == name]
            assert len(quotes) == 4 and all(quote.simulated for quote in quotes)
            assert quotes[0].time_ns == step.time_ns - 3600 * 10**9 and quotes[-1].time_ns < step.time_ns
            for side, offset in (("bid", 0), ("ask", 4)):
                prices = [getattr(quote, side) for quote in quotes]
                made = [prices[0], max(prices), min(prices), prices[-1]]
                assert made == panel.values[row, column, offset : offset + 4].tolist()
            bid_open, high, low = panel.values[row, column, :3]
            if abs((high - bid_open) - (bid_open - low)) > 1e-9:
                first = quotes[1].bid
                assert first == (high if high - bid_open < bid_open - low else low)  # the nearer extreme first


def test_a_bar_without_ask_gets_the_modelled_spread() -> None:
    panel = bar_panel()
    values = panel.values.copy()
    values[:, :, 4:8] = np.nan
    feed = BarsFeed(
        replace(panel, values=values), INSTRUMENTS, start_ns=int(panel.time_ns[5]), half_spread_points=POINTS
    )
    for quote in next(feed.steps(0, {})).quotes:
        assert (
            round((quote.ask - quote.bid) / float(INSTRUMENTS[quote.instrument].tick)) == 2 * POINTS[quote.instrument]
        )


def test_half_spreads_are_whole_points_and_at_least_one() -> None:
    euro, yen = default_instrument("EUR_USD"), default_instrument("USD_JPY")
    assert [half_spread_points(euro, pips) for pips in (0.6, 0.65, 0.04, 0.0)] == [6, 7, 1, 1]
    assert half_spread_points(yen, 0.7) == 7


def test_market_hours_leave_out_the_weekend_also_when_clocks_change() -> None:
    friday, monday = from_rfc3339("2024-03-08T13:15:00Z"), from_rfc3339("2024-03-11T13:15:00Z")
    assert open_stretches(friday, monday) == [
        (friday, from_rfc3339("2024-03-08T22:00:00Z")),
        (from_rfc3339("2024-03-10T21:00:00Z"), monday),
    ]
    saturday, sunday = from_rfc3339("2024-03-09T10:00:00Z"), from_rfc3339("2024-03-10T10:00:00Z")
    assert open_stretches(saturday, sunday) == [(saturday, sunday)]


@given(st.integers(0, 500), st.integers(1, 10 * DAY), st.integers(1, 50))
def test_ticks_are_spread_in_order_and_end_at_the_boundary(day: int, length: int, count: int) -> None:
    start = FIRST + day * DAY // 7
    times = spread_over(start, start + length, count)
    assert len(times) == count and times[-1] == start + length
    assert times == sorted(times) and all(start <= time_ns for time_ns in times)


def simulation(**changes: object) -> SimulationFeed:
    fields = {"start_ns": FIRST, "seed": 4, "half_spread_points": POINTS, "steps": 20, "ticks_per_step": 10} | changes
    return SimulationFeed(INSTRUMENTS, **fields)  # type: ignore[arg-type]


def test_the_simulation_repeats_goes_on_and_says_what_it_is() -> None:
    steps = list(simulation().steps(0, {}))
    assert len(steps) == 20 and steps == list(simulation().steps(0, {}))
    assert list(simulation().steps(7, {})) == steps[7:]
    assert steps != list(simulation(seed=5).steps(0, {}))
    quotes = [quote for step in steps for quote in step.quotes]
    assert all(quote.simulated and 0 < quote.bid < quote.ask for quote in quotes)
    assert {quote.instrument for quote in quotes} == set(NAMES)
    with pytest.raises(BadInputError, match="XDR_USD"):
        SimulationFeed(
            {"XDR_USD": default_instrument("XDR_USD")}, start_ns=FIRST, seed=1, half_spread_points={"XDR_USD": 1}
        )


def test_a_walk_goes_on_after_a_pause_without_making_it() -> None:
    items = {name: default_instrument(name) for name in ("EUR_JPY", "EUR_USD", "USD_JPY")}
    points = dict.fromkeys(items, 5)
    feed = SimulationFeed(items, start_ns=FIRST, seed=3, half_spread_points=points, step_seconds=1.0, ticks_per_step=50)
    standing = {quote.instrument: quote for quote in feed.opening()}
    for step in itertools.islice(feed.steps(0, {}), 20):
        standing |= {quote.instrument: quote for quote in step.quotes}
    # Walking there would take ten years of steps; from the quotes that stand it takes one.
    later = FIRST + 10 * 365 * DAY + 1
    step = next(feed.skip(later, standing))
    assert step.time_ns - later < 2 * 10**9 and step.quotes[0].time_ns > later
    for name, item in items.items():
        before, after = standing[name], next(quote for quote in step.quotes if quote.instrument == name)
        assert abs(after.bid - before.bid) < 40 * float(item.tick)
        assert round((after.ask - after.bid) / float(item.tick)) == 10
    assert next(feed.skip(later, standing)) == step  # the same every time
    near = next(feed.skip(FIRST + 20 * 10**9, standing))
    plain = next(itertools.islice(feed.steps(0, {}), 20, 21))
    assert (near.index, near.time_ns) == (plain.index, plain.time_ns)
    assert all(
        abs(mine.bid - theirs.bid) <= 2 * float(items[mine.instrument].tick)
        for mine, theirs in zip(near.quotes, plain.quotes, strict=True)
    )  # the walk that never stopped, up to rounding
