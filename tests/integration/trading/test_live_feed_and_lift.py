"""The live feed keeps time in silence; a restriction survives a restart and is lifted by hand only."""

import asyncio
from pathlib import Path

import pytest
from test_trading_loop_paper import trade_on_paper
from trading_session import MomentumPredictor, make_config, make_panel, write_state

from core.clock import LiveClock
from core.domain import BarKind, Heartbeat, Quote, default_instrument
from core.errors import RefusedError, UsageError
from trading.brokers.paper import PaperBroker
from trading.feeds.live import LiveFeed
from trading.feeds.paper import PaperFeed
from trading.risk.lift import lift_restriction
from trading.risk.limits import RiskParameters, RiskState
from trading.summary import SummaryCollector, read_state


async def test_quotes_pass_and_silence_has_heartbeats() -> None:
    clock = LiveClock()
    source = PaperBroker({"EUR_USD": default_instrument("EUR_USD")}, clock)
    paper = PaperBroker({"EUR_USD": default_instrument("EUR_USD")}, clock)
    await source.connect()
    await paper.connect()
    feed = PaperFeed(LiveFeed(source, clock, ["EUR_USD"], silence_seconds=0.05, grace_seconds=0.2), paper)

    def quote(bid: float) -> Quote:
        now = clock.time_ns()
        return Quote("EUR_USD", now, now, bid, bid + 0.0001)

    source.on_quote(quote(1.1))
    standing = await asyncio.wait_for(feed.prime(), 5)
    assert [item.bid for item in standing if isinstance(item, Quote)] == [1.1]
    events = feed.events()
    beat = await asyncio.wait_for(anext(events), 5)
    assert isinstance(beat, Heartbeat)
    assert 0.15e9 < beat.arrival_ns - beat.time_ns < 0.25e9
    source.on_quote(quote(1.2))
    item: Quote | Heartbeat = beat
    while not isinstance(item, Quote):
        item = await asyncio.wait_for(anext(events), 5)
    assert item.bid == 1.2
    assert paper.exchange.book.quotes["EUR_USD"].bid == 1.2
    await source.close()
    await paper.close()


async def test_a_restriction_is_lifted_by_hand_with_a_reason(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 40)
    limits = RiskParameters(maximum_drawdown=0.002, maximum_daily_loss=0.9)
    config = make_config(tmp_path, BarKind.FIXING, risk=limits)
    write_state(panel, config.feature_set, config.state_path)
    await trade_on_paper(config, panel, MomentumPredictor(config.feature_set))
    journal = config.session_directory / "journal"
    assert read_state(journal, SummaryCollector("USD"))[0].risk_state is RiskState.REDUCING
    with pytest.raises(UsageError, match="needs a reason"):
        lift_restriction(journal, " ", LiveClock())
    assert lift_restriction(journal, "looked at the losses, a bad day", LiveClock()) is RiskState.REDUCING
    assert read_state(journal, SummaryCollector("USD"))[0].risk_state is RiskState.ACTIVE
    with pytest.raises(RefusedError, match="not restricted"):
        lift_restriction(journal, "again", LiveClock())
