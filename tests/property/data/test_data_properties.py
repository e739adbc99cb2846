"""What must hold for any market data: bitemporality, calendar, wall clocks, resampling, conservation of rows."""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.domain import INPUT_COLUMNS
from data.batch import Batch
from data.calendar import ForexCalendar, target_days
from data.catalog import Catalog
from data.granularity import DAY, HOUR, MINUTE, parse_granularity
from data.quality.gate import SeriesGate
from data.resample import resample
from data.timezones import wall_clock

H1, TICK = parse_granularity("H1"), parse_granularity("tick")
CALENDAR = ForexCalendar()
MOMENTS = st.integers(946_684_800, 2_208_988_800).map(lambda second: second * 10**9)  # 2000 to 2039
few = settings(max_examples=40, deadline=None)


def bars(hours: list[int], prices: list[float]) -> Batch:
    opened = np.array(hours, np.int64) * HOUR
    values = np.tile(np.array(prices)[:, None], (1, len(INPUT_COLUMNS)))
    closed = opened + HOUR
    return Batch("EUR_USD", H1, "test", "o", opened, closed, closed, values, np.arange(len(hours)))


HISTORY = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 12), st.floats(0.5, 2.0), min_size=1, max_size=8),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=5,
)


@few
@given(HISTORY)
def test_the_latest_view_is_what_was_written_last(history: list[tuple[dict[int, float], int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Path(folder))
        known = 0
        facts: dict[int, tuple[float, int]] = {}  # hour -> latest value and arrival, kept by hand
        for update, wait in history:
            hours = sorted(update)
            known += 1000 * HOUR + wait * HOUR
            catalog.write(bars(hours, [update[hour] for hour in hours]), known_ns=known)
            for hour in hours:
                if hour not in facts:
                    facts[hour] = (update[hour], (hour + 1) * HOUR)
                elif facts[hour][0] != update[hour]:
                    facts[hour] = (update[hour], known)
            rows = catalog.read("EUR_USD", H1)
            assert [
                (int(e) // HOUR - 1, float(v), int(a))
                for e, v, a in zip(rows.event_ns, rows.values[:, 0], rows.arrival_ns, strict=True)
            ] == [(hour, *facts[hour]) for hour in sorted(facts)]
        assert catalog.verify() == len(catalog.manifest().parts)


@few
@given(st.lists(st.floats(0.5, 2.0), min_size=13, max_size=13), HISTORY)
def test_views_of_the_past_survive_any_corrections(
    first: list[float], history: list[tuple[dict[int, float], int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Path(folder))
        catalog.write(bars(list(range(13)), first))
        known, views = 20 * HOUR, {moment: catalog.digest(moment) for moment in (0, 5 * HOUR, 20 * HOUR)}
        for update, wait in history:
            known += (1 + wait) * HOUR
            views[known - 1] = catalog.digest(known - 1)
            catalog.write(bars(sorted(update), [update[hour] for hour in sorted(update)]), known_ns=known)
            assert {moment: catalog.digest(moment) for moment in views} == views


@few
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 500)), min_size=1, max_size=60), st.data())
def test_quotes_written_in_pieces_are_the_same_as_at_once(ticks: list[tuple[int, int]], draw: st.DataObject) -> None:
    times = np.sort(np.array([time for time, _ in ticks], np.int64))
    prices = np.array([price / 100 for _, price in ticks])
    values = np.column_stack([prices, prices + 0.01, np.full((len(times), 2), np.nan)])
    whole = Batch("EUR_USD", TICK, "t", "o", times, times, times, values, np.arange(len(times)))
    # pieces may be cut anywhere but within one time stamp, as files are
    cuts = sorted({int(np.searchsorted(times, cut)) for cut in draw.draw(st.lists(st.integers(0, 31), max_size=4))})
    with tempfile.TemporaryDirectory() as folder:
        one, many = Catalog(Path(folder) / "one"), Catalog(Path(folder) / "many")
        one.write(whole)
        for low, high in zip([0, *cuts], [*cuts, len(times)], strict=True):
            many.write(whole.take(np.arange(low, high)))
        assert one.digest() == many.digest()
        assert many.write(whole).unchanged == len(times)


@few
@given(MOMENTS)
def test_open_exactly_within_sessions(moment: int) -> None:
    opens, closes = CALENDAR.sessions(moment - DAY, moment + DAY)
    inside = bool(((opens <= moment) & (moment < closes)).any())
    assert CALENDAR.open_at(moment) is inside
    following = CALENDAR.next_open(moment)
    assert following >= moment
    assert CALENDAR.open_at(following)
    assert following == moment or not CALENDAR.open_at(following - 1)


@few
@given(MOMENTS)
def test_open_agrees_with_the_wall_in_new_york(moment: int) -> None:
    local = datetime.fromtimestamp(moment // 10**9, UTC).astimezone(ZoneInfo("America/New_York"))
    weekday, seconds = local.weekday(), local.hour * 3600 + local.minute * 60 + local.second
    evening = seconds >= 17 * 3600
    week = not (weekday == 5 or (weekday == 4 and evening) or (weekday == 6 and not evening))
    holiday = any(
        (local.month, local.day, evening) in {(month, day, False), (before_month, before, True)}
        for month, day, before_month, before in ((12, 25, 12, 24), (1, 1, 12, 31))
    )
    assert CALENDAR.open_at(moment) is (week and not holiday)


@few
@given(MOMENTS, st.integers(0, 20 * 24), st.sampled_from([MINUTE * 15, HOUR, 4 * HOUR, DAY]))
def test_expected_bars_are_those_that_touch_open_market(start: int, hours: int, length: int) -> None:
    end = start + hours * HOUR
    starts = CALENDAR.expected_starts(start, end, length)
    assert ((starts >= start) & (starts < end) & (starts % length == 0)).all()
    grid = np.arange(-(-start // length) * length, end, length, dtype=np.int64)
    touching = CALENDAR.open_ns_between(grid, grid + length) > 0
    assert starts.tolist() == grid[touching].tolist()


@few
@given(
    st.lists(MOMENTS, min_size=1, max_size=20),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Europe/Athens", "UTC", "Asia/Kolkata"]),
)
def test_wall_clocks_agree_with_zoneinfo_and_come_back(moments: list[int], zone: str) -> None:
    clock, utc = wall_clock(zone), np.array(moments, np.int64)
    local = clock.local(utc)
    for moment, wall in zip(utc.tolist(), local.tolist(), strict=True):
        shown = datetime.fromtimestamp(moment // 10**9, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=UTC)
        assert wall // 10**9 == int(shown.timestamp())
    back, skipped = clock.utc(local)
    assert not skipped.any()  # what a wall showed did exist
    assert np.isin(utc - back, [0, HOUR]).all()  # an hour that came twice means its first time


@few
@given(st.dates(datetime(1999, 1, 1).date(), datetime(2040, 1, 1).date()), st.integers(0, 700))
def test_target_days_are_weekdays_and_dense(first: "datetime", span: int) -> None:
    from datetime import timedelta

    days = target_days(first, first + timedelta(days=span))
    assert ((days + 3) % 7 < 5).all()
    assert (np.diff(days) >= 1).all() and (len(days) < 2 or np.diff(days).max() <= 6)


QUOTES = st.lists(
    st.tuples(st.integers(0, 3 * 3600 * 1000), st.integers(90_000, 110_000), st.integers(0, 50)),
    min_size=1,
    max_size=200,
)


@few
@given(QUOTES, st.sampled_from(["S30", "M1", "M15", "H1", "D"]), st.data())
def test_bars_do_not_depend_on_the_way_they_are_made(
    rows: list[tuple[int, int, int]], name: str, draw: st.DataObject
) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    times = 1_400_000_000 * 10**9 + np.array([row[0] for row in rows], np.int64) * 10**6
    bid = np.array([row[1] for row in rows]) / 1e5
    ask = bid + np.array([row[2] for row in rows]) / 1e5
    values = np.column_stack([bid, ask, np.full((len(rows), 2), np.nan)])
    quotes = Batch("EUR_USD", TICK, "t", "o", times, times, times, values, np.arange(len(rows)))
    grain = parse_granularity(name)
    direct = resample(quotes, grain)
    for index, opening in enumerate(direct.open_ns.tolist()):  # the definition, row by row
        inside = (times >= opening) & (times < opening + grain.length_ns)
        expected = [bid[inside][0], bid[inside].max(), bid[inside].min(), bid[inside][-1]]
        expected += [ask[inside][0], ask[inside].max(), ask[inside].min(), ask[inside][-1], inside.sum()]
        assert direct.values[index].tolist() == expected
    assert direct.column("tick_volume").sum() == len(rows)
    through = resample(resample(quotes, parse_granularity("S30")), grain)
    assert np.array_equal(through.values, direct.values)
    assert np.array_equal(through.open_ns, direct.open_ns)
    cut = draw.draw(st.integers(0, len(rows)))
    halves = [resample(quotes.take(part), grain) for part in (np.arange(cut), np.arange(cut, len(rows)))]
    from data.batch import concatenate
    from data.resample import merge_bars

    merged = merge_bars(concatenate([half for half in halves if len(half)]))
    assert np.array_equal(merged.values, direct.values)
    assert (direct.arrival_ns >= direct.event_ns).all()
    limit = int(direct.event_ns[len(direct) // 2])
    assert (resample(quotes, grain, complete_until_ns=limit).event_ns <= limit).all()


@few
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.floats(allow_nan=True, allow_infinity=True), st.floats(-1, 3)),
        min_size=1,
        max_size=60,
    )
)
@example([(0, 1.0, 1.0), (0, 0.0, 0.0), (0, 1.0, 1.0), (0, 1.0, 1.0)])
def test_no_row_is_ever_lost(rows: list[tuple[int, float, float]]) -> None:
    times = np.array([row[0] for row in rows], np.int64) * 10**9
    values = np.array([[bid, ask, np.nan, np.nan] for _, bid, ask in rows])
    batch = Batch("EUR_USD", TICK, "t", "o", times, times, times, values, np.arange(len(rows)))
    gate = SeriesGate("EUR_USD", TICK)
    judged = gate.judge(batch)
    quality = gate.finish()
    assert quality.rows_in == len(rows) == len(judged.kept) + len(judged.quarantined)
    assert sorted([*judged.kept.row.tolist(), *judged.quarantined.row.tolist()]) == list(range(len(rows)))
    assert 0.0 <= quality.score <= 1.0
    assert (judged.kept.column("bid") <= judged.kept.column("ask")).all()
    assert (judged.kept.values[:, :2] > 0).all()
    again = SeriesGate("EUR_USD", TICK)
    assert len(again.judge(replace(judged.kept)).quarantined) == 0  # good rows stay good
