"""Stamps, tables, granularities, ranges, holdout, batches: what the sources are built of."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from core.clock import from_rfc3339
from core.errors import BadInputError
from data.batch import Batch, concatenate
from data.granularity import DAY, HOUR, parse_granularity
from data.holdout import cutoff_ns
from data.sources.files import pair_in
from data.stamps import parse_stamps
from data.tables import Layout, read_text
from data.timezones import wall_clock
from data.window import parse_range

LAYOUT = Layout("test rows (time;price)", ("time", "price"), stamps=("time",), delimiter=";")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("20070101 21:00", "2007-01-01T21:00:00Z"),
        ("20170102 020000", "2017-01-02T02:00:00Z"),
        ("2012-11-16 01:00:00", "2012-11-16T01:00:00Z"),
        ("2012.11.16 01:00", "2012-11-16T01:00:00Z"),
        ("2013-01-01 22:00:00.295000+00:00", "2013-01-01T22:00:00.295Z"),
        ("20090501 00:00:00.007", "2009-05-01T00:00:00.007Z"),
        ("2018-10-11T00:00:00.000000001Z", "2018-10-11T00:00:00.000000001Z"),
        ("2015-03-02", "2015-03-02T00:00:00Z"),
        ("2016-02-29", "2016-02-29T00:00:00Z"),
    ],
)
def test_stamps_of_every_layout(text: str, meaning: str) -> None:
    time_ns, valid = parse_stamps(pa.array([text]))
    assert valid.tolist() == [True]
    assert time_ns.tolist() == [from_rfc3339(meaning)]


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2015-02-29", "2015-13-01", "20150100", "2015-01-01 24:00:00", "2015-01-01 10:61", "1.5", "20150101 1",
     "2015-01-01 10:00:00+02:00", "99991231"],
)  # fmt: skip
def test_stamps_that_are_none(text: str) -> None:
    time_ns, valid = parse_stamps(pa.array([text, "2015-01-01"]))
    assert valid.tolist() == [False, True]
    assert time_ns[0] == 0


def test_table_keeps_bad_rows_with_line_and_text() -> None:
    first = b"20150105 000000;1.1\n20150105 000100;abc\nwhat\n20150105 000300;1.3\n"
    content = first + b"20159905 000400;1.4\n20150105 000500;\n20150105 000600;1.6\n20150105 000700;1.7\n"
    table = read_text(content, LAYOUT, "x.csv")
    assert table.numbers["price"].tolist() == [1.1, 1.3, 1.6, 1.7]
    assert table.line.tolist() == [1, 4, 7, 8]
    assert [(reject.row, reject.detail) for reject in table.rejects] == [
        (2, "20150105 000100;abc"),
        (3, "what"),
        (5, "20159905 000400;1.4"),
        (6, "20150105 000500;"),
    ]


def test_table_counts_lines_below_a_header() -> None:
    layout = Layout("named rows", ("time", "price"), stamps=("time",), header=True)
    table = read_text(b"time,price\n20150105,1\nbroken\n20150106,2\n20150107,3\n", layout, "x.csv")
    assert table.line.tolist() == [2, 4, 5]
    assert [reject.row for reject in table.rejects] == [3]


def test_table_of_another_format_is_refused_with_its_first_wrong_line() -> None:
    with pytest.raises(BadInputError, match=r"x\.csv is not test rows \(time;price\): line 1 reads 'a,b'"):
        read_text(b"a,b\n1,2\n", LAYOUT, "x.csv")
    with pytest.raises(BadInputError, match="is empty"):
        read_text(b"  \n", LAYOUT, "x.csv")
    with pytest.raises(BadInputError, match="header and no rows"):
        read_text(b"time\n", Layout("named", ("time",), header=True), "x.csv")


def test_numbers_are_the_nearest_doubles() -> None:
    content = "".join(
        f"20150105 000000;{value}\n" for value in ("1.10057", "103428.00000000001", "1e-3", ".5")
    ).encode()
    assert read_text(content, LAYOUT, "x").numbers["price"].tolist() == [1.10057, 103428.00000000001, 1e-3, 0.5]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("DAT_ASCII_EURUSD_M1_201701", "EUR_USD"),
        ("GBPUSDh1", "GBP_USD"),
        ("usdjpy-ticks", "USD_JPY"),
        ("gbpusd-m1-bid-2012", "GBP_USD"),
        ("20140501_eurusd_minute_quote", "EUR_USD"),
        ("EUR_USD", "EUR_USD"),
        ("bid-ask", None),
        ("candles", None),
    ],
)
def test_pairs_in_file_names(text: str, pair: str | None) -> None:
    assert pair_in(text) == pair


def test_granularities() -> None:
    assert parse_granularity("H4").length_ns == 4 * HOUR
    assert parse_granularity("D").length_ns == DAY
    assert parse_granularity("fixing").is_fixing
    for name in ("H5", "X1", "M7", "h1", "", "H24", "S0"):
        with pytest.raises(BadInputError):
            parse_granularity(name)


def test_wall_clock_of_the_hour_that_came_twice_and_the_one_that_never_was() -> None:
    clock = wall_clock("America/New_York")
    local = np.array([from_rfc3339(f"2014-{moment}:00Z") for moment in ("11-02T01:30", "03-09T02:30", "03-09T03:00")])
    utc, skipped = clock.utc(local)
    assert skipped.tolist() == [False, True, False]
    assert utc[0] == from_rfc3339("2014-11-02T05:30:00Z")  # the first of the two
    assert utc[2] == from_rfc3339("2014-03-09T07:00:00Z")
    with pytest.raises(BadInputError, match="unknown time zone"):
        wall_clock("Mars/Olympus")


def test_range_of_dates_includes_the_last_day() -> None:
    since, until = parse_range(date(2014, 5, 1), "2014-05-02")
    assert (since, until) == (from_rfc3339("2014-05-01T00:00:00Z"), from_rfc3339("2014-05-03T00:00:00Z"))
    assert parse_range(None, None) == (None, None)
    assert parse_range("2014-05-01T09:00:00Z", datetime(2014, 5, 1, 10))[1] == from_rfc3339("2014-05-01T10:00:00Z")


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2020-01-01", "2019-01-01"),
        ("banana", None),
        (None, True),
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        (1.5, None),
    ],
)
def test_ranges_that_make_no_sense(since: object, until: object) -> None:
    with pytest.raises(BadInputError):
        parse_range(since, until)


def test_holdout() -> None:
    days = np.arange(1000, dtype=np.int64) * DAY
    assert cutoff_ns(days, {"count": 250}) == 750 * DAY
    assert int((days >= cutoff_ns(days, {"days": 365})).sum()) == 365
    for bad in (
        {},
        {"count": 0},
        {"count": 1000},
        {"days": 5000},
        {"count": 1.5},
        {"weeks": 3},
        {"count": 1, "days": 2},
        {"count": True},
    ):
        with pytest.raises(BadInputError, match="holdout"):
            cutoff_ns(days, bad)
    with pytest.raises(BadInputError, match="without rows"):
        cutoff_ns(days[:0], {"count": 1})


def quotes(rows: int, start: int = 0) -> Batch:
    times = np.arange(start, start + rows, dtype=np.int64)
    return Batch(
        "EUR_USD", parse_granularity("tick"), "test", f"f{start}", times, times, times, np.ones((rows, 4)), times
    )


def test_batches_join_and_split() -> None:
    joined = concatenate([quotes(3), quotes(2, 10)])
    assert joined.event_ns.tolist() == [0, 1, 2, 10, 11]
    assert "2 files" in joined.origin
    assert joined.between(1, 11).event_ns.tolist() == [1, 2, 10]
    with pytest.raises(ValueError, match="shape"):
        Batch(
            "EUR_USD",
            parse_granularity("H1"),
            "t",
            "o",
            *(np.zeros(1, np.int64),) * 3,
            np.ones((1, 4)),
            np.zeros(1, np.int64),
        )
