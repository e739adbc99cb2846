"""The command line: what contradicts itself is one clear error, what is given arrives."""

from decimal import Decimal
from pathlib import Path

import pytest

from core.errors import TidegateError
from core.settings import OandaSettings
from trading.practice.config import FeedKind
from trading.practice.feeds.build import financing_rates
from trading.practice.options import live_source, parse_config


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--feed", "live", "--source-ready-file", "nowhere.json"], "nowhere.json"),
        (["--maintenance", "25:00-26:00"], "16:59-17:05"),
        (["--maintenance", "10:00-10:00"], "no length"),
        (["--hedging", "--fifo"], "exclude"),
        (["--liquidity", "0"], "--liquidity"),
        (["--liquidity", "NaN"], "--liquidity"),
    ],
)
def test_options_that_make_no_sense_are_one_line(arguments: list[str], word: str) -> None:
    with pytest.raises(TidegateError) as refused:
        parse_config(arguments)
    assert word in refused.value.message and "\n" not in refused.value.message


def test_a_live_feed_needs_to_know_where_and_tells_no_token(tmp_path: Path) -> None:
    with pytest.raises(TidegateError, match="--source-ready-file"):
        live_source(OandaSettings(), None)
    given = OandaSettings(token="secret", account_id="101-001-5-001", rest_url="http://127.0.0.1:1/")  # type: ignore[arg-type]
    source = live_source(given, None)
    assert source.rest_url == "http://127.0.0.1:1" and source.stream_url == "https://stream-fxpractice.oanda.com"
    assert "secret" not in repr(source) and "101-001-5" not in repr(source)
    ready = tmp_path / "ready.json"
    ready.write_text('{"rest_url": "http://a", "stream_url": "http://b", "account_id": "1", "token": "t"}')
    config, _ = parse_config(["--feed", "live", "--source-ready-file", str(ready), "--maintenance", "16:59-17:05"])
    assert config.source is not None and config.source.stream_url == "http://b" and config.feed is FeedKind.LIVE
    assert config.maintenance == ((1019, 1025),) and config.token != "t"


def test_financing_rates_of_the_parameters() -> None:
    given = {"practice": {"financing_rates": {"eurusd": [-0.021, 0.004]}}}
    assert financing_rates(given) == {"EUR_USD": (Decimal("-0.021"), Decimal("0.004"))}
    assert financing_rates({}) == {}
    for wrong in ({"EUR_USD": 3}, {"EUR_USD": ["a", "b"]}, {"EUR_USD": [float("nan"), 0]}, ["EUR_USD"]):
        with pytest.raises(TidegateError, match="financing_rates"):
            financing_rates({"practice": {"financing_rates": wrong}})
