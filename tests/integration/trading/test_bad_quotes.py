"""Prices that are none, in a whole session: journalled, counted, and the orders are those of a clean market."""

import math
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from trading_session import INSTRUMENTS, MomentumPredictor, make_config, make_feed, make_panel, write_state

from core.domain import BarKind, Heartbeat, Panel, Quote, default_instrument
from core.journal import read_entries
from trading import records
from trading.brokers.paper import PaperBroker
from trading.config import TraderConfig
from trading.feeds.guard import QuoteGuard
from trading.feeds.lockstep import LockstepClock
from trading.feeds.paper import PaperFeed
from trading.feeds.steps import StepFeed
from trading.summary import SessionSummary
from trading.trader import run_trader


class SpoiltFeed(StepFeed):
    """A feed whose every seventh quote is preceded by something that is no price."""

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        number = 0
        async for item in super().events():
            if isinstance(item, Quote):
                number += 1
                if number % 7 == 0:
                    yield self._spoil(item, number // 7 % 6)
            yield item

    @staticmethod
    def _spoil(quote: Quote, kind: int) -> Quote:
        changes: list[dict[str, float | int | str]] = [
            {"bid": math.nan},
            {"ask": math.inf},
            {"bid": -1.0, "ask": -0.9},
            {"bid": quote.ask + 0.01, "ask": quote.bid},
            {"instrument": "XAU_USD"},
            {"time_ns": quote.time_ns + 3600 * 10**9},
        ]
        return msgspec.structs.replace(quote, **changes[kind])


async def trade(config: TraderConfig, panel: Panel, spoilt: bool) -> SessionSummary:
    clock = LockstepClock()
    source = make_feed(panel)
    broker = PaperBroker({name: default_instrument(name) for name in INSTRUMENTS}, clock, start_ns=source.start_ns)
    await broker.connect()
    try:
        inner = SpoiltFeed(source, clock) if spoilt else StepFeed(source, clock)
        feed = PaperFeed(inner, broker, QuoteGuard(config.instruments, config.feed, jumps=False), clock)
        predictor = MomentumPredictor(config.feature_set)
        return await run_trader(config, broker, predictor, clock, feed, handle_signals=False)
    finally:
        await broker.close()


async def test_bad_quotes_change_no_order_and_no_cent(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 25)
    outcomes: list[SessionSummary] = []
    for name in ("clean", "spoilt"):
        (tmp_path / name).mkdir()
        config = make_config(tmp_path / name, BarKind.FIXING)
        write_state(panel, config.feature_set, config.state_path)
        outcomes.append(await trade(config, panel, spoilt=name == "spoilt"))
    clean, spoilt = outcomes
    assert clean.orders > 10
    assert (spoilt.order_digest, spoilt.balance, spoilt.equity_curve) == (
        clean.order_digest,
        clean.balance,
        clean.equity_curve,
    )
    reasons: dict[str, int] = {}
    for entry in read_entries(tmp_path / "spoilt" / "session" / "journal"):
        record = records.decode(entry)
        if isinstance(record, records.QuoteRefused):
            reasons[record.reason] = reasons.get(record.reason, 0) + 1
    assert set(reasons) == {"NOT_A_NUMBER", "NOT_POSITIVE", "CROSSED", "UNKNOWN_INSTRUMENT", "CLOCK_JUMP"}
    assert spoilt.reconciliation is not None
    assert spoilt.reconciliation.reconciled
