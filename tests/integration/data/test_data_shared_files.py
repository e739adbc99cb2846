"""Every real file of the shared folder loads right or is refused with the reason; its measured traps are asserted."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from core.clock import from_rfc3339
from core.errors import BadInputError
from data.batch import Batch, concatenate
from data.calendar import ForexCalendar
from data.granularity import HOUR, parse_granularity
from data.ingest import ingest
from data.panel import load_panel
from data.quality import rules
from data.quality.gate import SeriesGate, SeriesQuality
from data.resample import resample
from data.sources import LoadOptions, find_source

ROOT = Path(os.environ.get("TIDEGATE_SHARED_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not (ROOT / "MANIFEST.csv").is_file(), reason=f"no real market files at {ROOT}"),
]
SOURCES = {
    "dukascopy/": "dukascopy",
    "ecb/": "ecb",
    "ejtrader/": "metatrader",
    "histdata/": "histdata",
    "lean/": "lean",
    "nautilus/fxcm/": "nautilus",
    "nautilus/truefx/": "truefx",
    "oanda_v20/": "oanda",
}
COMPLETE = "USD JPY CZK DKK GBP HUF PLN SEK CHF NOK AUD CAD HKD KRW NZD SGD ZAR"
# Of the recorded v20 payloads, the ones that are candles of a currency pair: (rows, rejects).
CANDLES = {
    "oanda_v20/mab05k_oanda-client/instrument/candles.json": (99, 1),
    "oanda_v20/pyfx_dispatch_oanda/GetInstrumentCandles200Response.json": (3, 0),
}


def load(source: str, path: str | None, *instruments: str, **options: str) -> Batch:
    location = None if path is None else ROOT / path
    return concatenate(list(find_source(source).load(location, instruments, None, None, LoadOptions(**options))))


def quality(batch: Batch) -> SeriesQuality:
    gate = SeriesGate(batch.instrument, batch.granularity)
    gate.judge(batch)
    return gate.finish()


def test_walk_over_all_files() -> None:
    with (ROOT / "MANIFEST.csv").open() as stream:
        listed = list(csv.DictReader(stream))
    on_disk = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()}
    assert {row["path"] for row in listed} == on_disk - {"MANIFEST.csv", "README.md"}
    loaded = refused = 0
    for row in listed:
        path = row["path"]
        source = find_source(next(name for prefix, name in SOURCES.items() if path.startswith(prefix)))
        if source.name == "oanda" and path not in CANDLES:
            with pytest.raises(BadInputError, match=r"no v20 candles answer|no currency pair"):
                list(source.load(ROOT / path, (), None, None, LoadOptions()))
            refused += 1
            continue
        batches = list(source.load(ROOT / path, (), None, None, LoadOptions()))
        if source.name == "oanda":
            assert (len(batches[0]), len(batches[0].rejects)) == CANDLES[path]
        else:
            assert {len(batch) for batch in batches} == ({int(row["rows"])} if int(row["rows"]) else set()), path
            assert not any(batch.rejects for batch in batches), path
        for batch in batches:
            assert (np.diff(batch.event_ns) >= 0).all(), path
            assert (batch.arrival_ns >= batch.event_ns).all(), path
        loaded += 1
    assert (loaded, refused) == (113, 41)


def test_ecb_file_is_the_one_in_the_wheel() -> None:
    from data.sources.ecb import wheel_file

    given = load("ecb", "ecb/eurofxref-hist.zip", "USD_JPY")
    built_in = load("ecb", None, "USD_JPY")
    assert wheel_file().read_bytes() == (ROOT / "ecb/eurofxref-hist.zip").read_bytes()
    assert np.array_equal(given.values, built_in.values, equal_nan=True)
    assert len(given) == 7126


def test_ecb_seventeen_currencies_are_complete_and_others_are_refused_by_the_gate() -> None:
    batches = {}
    for currency in COMPLETE.split():
        batches[currency] = load("ecb", None, f"EUR_{currency}")
        assert quality(batches[currency]).coverage.missing == 0, currency
    for currency in ("HRK", "RUB", "ISK"):
        assert quality(load("ecb", None, f"EUR_{currency}")).score < 0.9, currency


def test_franc_of_2015_is_a_jump_and_no_bad_print() -> None:
    found = quality(load("ecb", None, "EUR_CHF"))
    assert found.rows_quarantined == 0
    assert any(jump.time_ns == from_rfc3339("2015-01-15T13:15:00Z") and jump.log_return < -0.1 for jump in found.jumps)


def test_lean_oanda_is_clean_and_keeps_every_row() -> None:
    for path, rows in (
        ("lean/forex/oanda/hour/nzdusd.zip", 74_451),
        ("lean/cfd/oanda/hour/xauusd.zip", 76_499),
        ("lean/forex/oanda/daily/gbpusd.zip", 3_738),
        ("lean/forex/oanda/tick/eurusd", 321_559),
        ("lean/forex/oanda/tick/nzdusd", 274_268),
        ("lean/cfd/oanda/tick/xauusd", 357_645),
        ("lean/forex/oanda/minute/eurusd", 9_552),
        ("lean/forex/oanda/second/eurusd", 31_713),
    ):
        found = quality(load("lean", path))
        assert (found.rows_in, found.rows_kept) == (rows, rows), path
        assert (found.out_of_order, found.locked) == (0, 0), path
        assert found.score > 0.9, path


def test_our_minutes_from_oanda_ticks_are_the_minutes_of_lean() -> None:
    for pair in ("eurusd", "nzdusd"):
        made = resample(load("lean", f"lean/forex/oanda/tick/{pair}"), parse_granularity("M1"))
        given = load("lean", f"lean/forex/oanda/minute/{pair}")
        assert np.array_equal(made.open_ns, given.open_ns)
        assert np.array_equal(made.values[:, :8], given.values[:, :8])


def test_fxcm_crossed_quotes_are_counted_and_quarantined() -> None:
    hours = load("lean", "lean/forex/fxcm/hour/nzdusd.zip")
    assert int((hours.column("ask_close") < hours.column("bid_close")).sum()) == 317
    found = quality(hours)
    assert found.reasons == {rules.CROSSED: 1449}  # at any of open, high, low and close
    last = hours.event_ns[rules.crossed(hours)].max()
    assert last < from_rfc3339("2017-01-01T00:00:00Z")
    ticks = quality(load("lean", "lean/forex/fxcm/tick/eurusd"))
    assert (ticks.rows_in, ticks.reasons) == (168_850, {rules.CROSSED: 15_160})  # 9 %
    assert ticks.locked == 19_522  # another 12 %
    assert ticks.score < 0.5
    minutes = load("nautilus", "nautilus/fxcm")
    assert int((minutes.column("ask_close") < minutes.column("bid_close")).sum()) == 347
    assert int((minutes.column("ask_close") == minutes.column("bid_close")).sum()) == 306


def returns(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    steps = np.diff(np.log(batch.column("bid_close")))
    whole = np.diff(batch.open_ns) == HOUR
    return batch.open_ns[1:][whole], steps[whole]


def best_lag(batch: Batch, reference: Batch, start: str, end: str) -> int:
    """Return by how many hours a clock seems wrong against a reference: 0 where it is right."""
    times, moves = returns(batch)
    known, expected = returns(reference)
    low, high = np.searchsorted(times, [from_rfc3339(f"{start}T00:00:00Z"), from_rfc3339(f"{end}T00:00:00Z")])
    times, moves = times[low:high], moves[low:high]
    found = {}
    for lag in range(-7, 8):
        place = np.minimum(np.searchsorted(known, times + lag * HOUR), len(known) - 1)
        there = known[place] == times + lag * HOUR
        assert there.sum() > 20
        found[lag] = np.corrcoef(moves[there], expected[place[there]])[0, 1]
    return max(found, key=lambda lag: found[lag])


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2007-04-01", "2007-11-01"),  # summer, before the fix
        ("2007-11-10", "2008-03-01"),  # winter, before the fix
        ("2009-09-01", "2009-09-19"),
        ("2009-09-20", "2009-10-31"),  # fixed from here on
        ("2010-01-01", "2010-03-01"),
        ("2014-04-01", "2014-10-01"),
    ],
)
def test_fxcm_clock(start: str, end: str) -> None:
    reference = load("lean", "lean/forex/oanda/hour/nzdusd.zip")
    assert best_lag(load("lean", "lean/forex/fxcm/hour/nzdusd.zip"), reference, start, end) == 0


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2012-11-16", "2013-03-09"),
        ("2013-03-11", "2013-03-30"),  # New York has moved its clocks, Europe has not
        ("2013-04-02", "2013-10-26"),
        ("2014-11-10", "2014-11-22"),  # the last two weeks of the old clock
        ("2014-11-23", "2014-12-06"),  # the first two of the new
        ("2015-03-09", "2015-03-28"),
        ("2016-04-01", "2018-12-01"),
    ],
)
def test_metatrader_clock(start: str, end: str) -> None:
    reference = load("lean", "lean/forex/oanda/hour/nzdusd.zip")
    assert best_lag(load("metatrader", "ejtrader/AUDUSDh1.csv"), reference, start, end) == 0


@pytest.mark.parametrize(("start", "end"), [("2017-01-03", "2017-03-11"), ("2017-03-13", "2017-03-31")])
def test_histdata_clock(start: str, end: str) -> None:
    files = [f"histdata/DAT_ASCII_EURUSD_M1_20170{month}.csv" for month in (1, 2, 3)]
    hours = resample(concatenate([load("histdata", file) for file in files]), parse_granularity("H1"))
    assert best_lag(hours, load("metatrader", "ejtrader/GBPUSDh1.csv"), start, end) == 0


def test_metatrader_prices_are_points_without_noise() -> None:
    pound = load("metatrader", "ejtrader/GBPUSDh1.csv")
    prices = pound.column("bid_close")
    assert np.array_equal(np.round(prices * 1e5) / 1e5, prices)
    brexit = np.searchsorted(pound.open_ns, from_rfc3339("2016-06-24T00:00:00Z"))
    move = np.diff(np.log(prices))[brexit - 10 : brexit + 10].min()
    assert move == pytest.approx(-0.0587, abs=1e-4)
    assert quality(pound).rows_quarantined == 0
    assert 100 < np.median(load("metatrader", "ejtrader/EURJPYh1.csv").column("bid_close")) < 150


def test_damaged_histdata_month_is_refused_and_says_why(tmp_path: Path) -> None:
    found = quality(load("histdata", "histdata/DAT_ASCII_EURUSD_M1_202306.csv"))
    assert found.rows_in == found.rows_kept == 16_752
    assert found.coverage.gap_share > 0.25
    hours = np.unique(load("histdata", "histdata/DAT_ASCII_EURUSD_M1_202306.csv").open_ns // HOUR, return_counts=True)[
        1
    ]
    assert len(ForexCalendar().expected_starts(found.first_event_ns or 0, found.last_event_ns or 0, HOUR)) > len(hours)
    with pytest.raises(BadInputError, match="gaps"):
        ingest(tmp_path, "histdata", ROOT / "histdata/DAT_ASCII_EURUSD_M1_202306.csv", ["EUR_USD"])
    assert quality(load("histdata", "histdata/DAT_ASCII_EURUSD_M1_201701.csv")).score == 1.0


def test_dukascopy_day_is_the_fourth_of_february() -> None:
    ticks = load("dukascopy", "dukascopy/EURUSD", "EUR_USD", granularity="tick")
    assert len(ticks) == 136_741
    day = from_rfc3339("2019-02-04T00:00:00Z")
    assert day <= ticks.event_ns.min() and ticks.event_ns.max() < day + 24 * HOUR
    assert (ticks.column("ask") >= ticks.column("bid")).all()
    made = resample(ticks, parse_granularity("M1"))
    given = load("dukascopy", "dukascopy/EURUSD/2019/01/04/BID_candles_min_1.bi5")
    same = np.isin(given.open_ns, made.open_ns)
    agreeing = given.values[same][:, :4] == made.values[:, :4]
    assert agreeing.mean() > 0.99


def test_dukascopy_weekend_filler_is_quarantined() -> None:
    days = quality(load("dukascopy", "dukascopy/EURUSD/2018"))
    assert (days.rows_in, days.reasons, days.coverage.missing) == (365, {rules.MARKET_CLOSED: 52}, 0)


def test_truefx_stamp_without_a_fraction_and_repeated_stamps() -> None:
    ticks = load("truefx", "nautilus/truefx/usdjpy-ticks.csv")
    assert (len(ticks), len(ticks) - len(np.unique(ticks.event_ns))) == (1000, 7)
    assert quality(ticks).rows_quarantined == 0


def test_hourly_market_of_the_demo(tmp_path: Path) -> None:
    result = ingest(tmp_path, "lean", ROOT / "lean/forex/oanda/hour", ["NZD_USD"])
    assert (result.rows_in, result.rows_kept, result.granularity) == (74_451, 74_451, "H1")
    panel = load_panel(result.catalog, ["NZD_USD"])
    assert panel.values.shape == (74_451, 1, 9)
    assert np.isfinite(panel.values[:, :, :8]).all()
    assert panel.time_ns[0] == from_rfc3339("2007-01-01T22:00:00Z")  # the close of the bar of 21:00
