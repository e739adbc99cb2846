"""The rules, the score and the report of the quality gate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.clock import from_rfc3339
from core.domain import INPUT_COLUMNS
from core.files import read_json
from data.batch import Batch, Reject
from data.calendar import ForexCalendar, fixing_ns, target_days
from data.granularity import HOUR, MINUTE, parse_granularity
from data.quality import rules
from data.quality.gate import Judged, SeriesGate, SeriesQuality
from data.quality.quarantine import quarantine_table, write_quarantine
from data.quality.report import make_report, render, write_refused, write_report
from data.quality.score import CHECKS, penalties, score

START = from_rfc3339("2015-01-05T00:00:00Z")


def hours(count: int = 400, seed: int = 0) -> Batch:
    opened = ForexCalendar().expected_starts(START, START + 4 * count * HOUR, HOUR)[:count]
    close = np.round(0.77 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, count))), 5)
    start = np.r_[close[0], close[:-1]]
    high, low = np.maximum(start, close) + 2e-4, np.minimum(start, close) - 2e-4
    bid = np.column_stack([start, high, low, close])
    values = np.column_stack([bid, bid + 1e-4, np.full(count, 10.0)])
    closed = opened + HOUR
    rows = np.arange(1, count + 1)
    return Batch("NZD_USD", parse_granularity("H1"), "test", "hours", opened, closed, closed, values, rows)


def ticks(count: int = 500) -> Batch:
    times = START + np.arange(count, dtype=np.int64) * 10**9
    bid = np.round(1.1 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-5, count))), 5)
    values = np.column_stack([bid, bid + 1e-4, np.full((count, 2), np.nan)])
    return Batch(
        "EUR_USD", parse_granularity("tick"), "test", "ticks", times, times, times, values, np.arange(1, count + 1)
    )


def judge(batch: Batch) -> tuple[Judged, SeriesQuality]:
    gate = SeriesGate(batch.instrument, batch.granularity)
    judged = gate.judge(batch)
    return judged, gate.finish()


def changed(batch: Batch, row: int, **columns: float) -> Batch:
    values = batch.values.copy()
    for name, value in columns.items():
        values[row, batch.columns.index(name)] = value
    return replace(batch, values=values)


def test_clean_bars_pass_whole() -> None:
    judged, quality = judge(hours())
    assert (quality.rows_in, quality.rows_kept, quality.score) == (400, 400, 1.0)
    assert len(judged.quarantined) == 0
    assert quality.coverage.missing == 0


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"bid_close": float("nan")}, rules.MISSING_PRICE),
        ({"bid_close": float("inf")}, rules.MISSING_PRICE),
        (dict.fromkeys(INPUT_COLUMNS[:8], -1.0), rules.NON_POSITIVE),
        ({"ask_close": 0.0}, rules.NON_POSITIVE),
        ({"ask_close": 0.5, "ask_low": 0.4}, rules.CROSSED),
        ({"bid_high": 0.1}, rules.BAD_OHLC),
        ({"ask_high": 9.0}, rules.SPIKE),
    ],
)
def test_bad_bar_goes_to_quarantine_with_its_reason(columns: dict[str, float], reason: str) -> None:
    judged, quality = judge(changed(hours(), 200, **columns))
    assert judged.reasons.tolist() == [reason]
    assert judged.quarantined.row.tolist() == [201]
    assert quality.rows_in == quality.rows_kept + 1 == 400
    assert quality.reasons == {reason: 1}
    assert quality.score < 1.0


def test_repeated_bars() -> None:
    batch = hours()
    twice = batch.take(np.r_[np.arange(400), 50])
    other = changed(batch.take(np.r_[np.arange(400), 50]), 400, bid_low=0.7, ask_low=0.7001)
    judged, quality = judge(twice)
    assert (quality.reasons, quality.out_of_order) == ({rules.DUPLICATE: 1}, 1)
    assert judged.kept.event_ns.tolist() == batch.event_ns.tolist()
    assert judge(other)[1].reasons == {rules.CONFLICT: 1}


def test_quotes_of_the_same_millisecond_stay_but_a_file_joined_twice_does_not() -> None:
    batch = ticks()
    same = batch.take(np.r_[np.arange(500), 499])
    same = replace(same, row=np.arange(1, 502))
    assert judge(same)[1].rows_quarantined == 0
    joined = batch.take(np.r_[np.arange(500), np.arange(500)])
    joined = replace(joined, row=np.arange(1, 1001))
    quality = judge(joined)[1]
    assert quality.reasons == {rules.DUPLICATE: 500}
    assert quality.score < 0.5


def test_bad_print_is_taken_out_and_a_jump_that_stays_is_kept() -> None:
    batch = hours()
    spike = batch.values.copy()
    spike[200] *= 1.2
    judged, quality = judge(replace(batch, values=spike))
    assert judged.reasons.tolist() == [rules.SPIKE]
    assert judged.quarantined.row.tolist() == [201]
    jump = batch.values.copy()
    jump[200:] *= 0.9
    quality = judge(replace(batch, values=jump))[1]
    assert quality.rows_quarantined == 0
    assert quality.jump_count == 1
    assert quality.jumps[0].time_ns == int(batch.event_ns[200])


def test_wild_hours_of_a_crisis_are_no_bad_prints() -> None:
    batch = hours(2000)
    swings = np.ones(2000)
    swings[1000:1040] = np.exp(np.tile([0.03, -0.031, 0.028, -0.029], 10).cumsum())
    assert judge(replace(batch, values=batch.values * swings[:, None]))[1].reasons == {}


def test_gaps_are_counted_against_the_calendar() -> None:
    batch = hours(400)
    quality = judge(batch.take(np.r_[np.arange(100), np.arange(150, 400)]))[1]
    assert (quality.coverage.expected, quality.coverage.missing, quality.coverage.gap_count) == (400, 50, 1)
    assert quality.coverage.gaps[0].start_ns == int(batch.open_ns[100])
    assert quality.coverage.gaps[0].end_ns == int(batch.event_ns[149])
    assert quality.score == pytest.approx(1 - 0.6 * (50 / 400) / 0.3, abs=1e-6)


def test_quiet_minutes_are_no_gap_but_a_quarter_of_an_hour_is() -> None:
    opened = START + np.arange(600, dtype=np.int64) * MINUTE
    keep = np.ones(600, bool)
    keep[[10, 20, 21, 22]] = False
    keep[300:315] = False
    values = np.column_stack([np.full((600, 4), 1.1), np.full((600, 4), np.nan), np.full(600, np.nan)])
    closed = opened + MINUTE
    batch = Batch("EUR_USD", parse_granularity("M1"), "t", "o", opened, closed, closed, values, np.arange(600)).take(
        keep
    )
    coverage = judge(batch)[1].coverage
    assert (coverage.expected, coverage.missing, coverage.in_gaps, coverage.gap_count) == (600, 19, 15, 1)


def test_silence_of_quotes_is_measured_in_open_time() -> None:
    batch = ticks(4000)
    quality = judge(batch.take(np.r_[np.arange(1000), np.arange(2500, 4000)]))[1]
    assert quality.coverage.gap_count == 1
    assert quality.coverage.in_gaps == 1501
    friday = from_rfc3339("2015-01-09T21:59:00Z")
    times = np.array([friday, friday + 30 * 10**9, from_rfc3339("2015-01-11T22:00:30Z")])
    weekend = Batch("EUR_USD", batch.granularity, "t", "o", times, times, times, batch.values[:3], np.arange(3))
    assert judge(weekend)[1].coverage.gap_count == 0


def test_fixings_are_expected_on_target_days_over_the_whole_window() -> None:
    from datetime import date

    days = target_days(date(2015, 1, 2), date(2015, 12, 31))
    event, arrival = fixing_ns(days)
    values = np.full((len(days), 9), np.nan)
    values[:, 3] = values[:, 7] = 1.1 + np.arange(len(days)) / 1e4
    window = (int(event[0]), int(event[-1]))
    whole = Batch(
        "EUR_USD", parse_granularity("fixing"), "t", "o", event, event, arrival, values, days, window_ns=window
    )
    assert judge(whole)[1].score == 1.0
    half = judge(whole.take(np.arange(100)))[1]
    assert half.coverage.missing == len(days) - 100
    assert half.score < 0.9


def test_vendor_filler_on_weekends_goes_without_a_penalty() -> None:
    saturday = from_rfc3339("2015-01-10T12:00:00Z")
    batch = hours(118)  # to the end of the week
    flat = np.array([[0.77, 0.77, 0.77, 0.77, 0.7701, 0.7701, 0.7701, 0.7701, 0.0]])
    filler = Batch(
        "NZD_USD",
        batch.granularity,
        "test",
        "hours",
        *(np.array([saturday + k]) for k in (0, HOUR, HOUR)),
        flat,
        np.array([119]),
    )
    from data.batch import concatenate

    judged, quality = judge(concatenate([batch, filler]))
    assert judged.reasons.tolist() == [rules.MARKET_CLOSED]
    assert quality.score == 1.0


def test_stale_runs_and_locked_quotes_are_counted_and_kept() -> None:
    batch = ticks()
    values = batch.values.copy()
    values[100:350, :2] = values[100, :2]
    values[400:410, 1] = values[400:410, 0]
    quality = judge(replace(batch, values=values))[1]
    assert quality.rows_kept == 500
    assert (quality.stale_rows, quality.longest_unchanged, quality.locked) == (250, 250, 10)
    assert quality.score < 1.0


def test_unreadable_rows_count_in_and_are_quarantined() -> None:
    batch = replace(hours(), rejects=(Reject("hours", 7, "malformed", "x,y"),) * 8)
    _, quality = judge(batch)
    assert (quality.rows_in, quality.rows_kept, quality.rows_quarantined) == (408, 400, 8)
    assert quality.score < 0.1


def test_every_check_at_its_limit_refuses_by_default() -> None:
    for name, check in CHECKS.items():
        assert score(penalties({name: check.limit})) == pytest.approx(1 - check.weight) and check.weight >= 0.3
        assert score(penalties({name: 0.0})) == 1.0
        assert score(penalties({name: check.limit * 10})) == pytest.approx(1 - check.weight)


def test_chunks_judged_one_by_one_add_up() -> None:
    batch = hours(400)
    gate = SeriesGate("NZD_USD", batch.granularity)
    for low in range(0, 400, 100):
        gate.judge(batch.take(np.arange(low, low + 100)))
    assert gate.finish() == judge(batch)[1]


def test_quarantine_names_follow_content(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    bad = replace(changed(hours(), 200, ask_close=0.5, ask_low=0.4), rejects=(Reject("hours", 7, "malformed", "x,y"),))
    judged, _ = judge(bad)
    table = quarantine_table("NZD_USD", "H1", "test", [judged])
    assert table is not None
    first = write_quarantine(tmp_path, table)
    assert write_quarantine(tmp_path, table) == first
    rows = pq.read_table(first).to_pylist()
    assert [(row["row"], row["reason"], row["text"], row["ask_close"]) for row in rows] == [
        (201, "crossed", None, 0.5),
        (7, "malformed", "x,y", None),
    ]
    assert quarantine_table("NZD_USD", "H1", "test", [judge(hours())[0]]) is None


def test_report_is_whole_readable_and_without_outside_references(tmp_path: Path) -> None:
    _, quality = judge(changed(hours(), 200, ask_close=0.5, ask_low=0.4))
    report = make_report("test", 0.9, [quality])
    page = write_report(tmp_path, report)
    html = page.read_text()
    for words in ("Accepted", "NZD_USD", "crossed 1", "400 rows in = 399 kept + 1 quarantined", "<svg"):
        assert words in html
    assert "http" not in html and "<script" not in html and "src=" not in html
    written = read_json(tmp_path / "quality.json")
    assert (written["rows_in"], written["rows_kept"], written["rows_quarantined"]) == (400, 399, 1)
    assert written["series"][0]["reasons"] == {"crossed": 1}


def test_refused_report_stands_beside_the_last_good_one_until_the_next(tmp_path: Path) -> None:
    good = make_report("test", 0.9, [judge(hours())[1]])
    batch = hours()
    values = batch.values.copy()
    values[:, [0, 1, 2, 3, 4, 5, 6, 7]] = values[:, [4, 5, 6, 7, 0, 1, 2, 3]]
    bad = make_report("test", 0.9, [judge(replace(batch, values=values))[1]])
    assert not bad.accepted
    assert "NZD_USD H1 is below 0.9: crossed 100.0 %" in bad.refusal
    write_report(tmp_path, good)
    before = (tmp_path / "quality.html").read_bytes()
    assert "Refused" in write_refused(tmp_path, bad).read_text()
    assert (tmp_path / "quality.html").read_bytes() == before
    write_report(tmp_path, good)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quality.html", "quality.json"]


def test_text_of_a_source_cannot_inject_markup() -> None:
    batch = replace(hours(), notes=("<script>alert(1)</script>",))
    assert "<script>" not in render(make_report("test", 0.9, [judge(batch)[1]]))
