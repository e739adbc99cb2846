"""Quotes taken in many at a time leave the same journal, account and bars as quotes taken in one by one."""

import math
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from core.domain import BarKind, Quote, default_instrument
from core.journal import Entry, read_entries
from tidegate.bench.ticks import simulated_ticks
from trading.brokers.paper import PaperBroker
from trading.config import TraderConfig
from trading.feeds.blocks import BlockFeed, QuoteBlock
from trading.feeds.guard import QuoteGuard
from trading.feeds.lockstep import LockstepClock
from trading.feeds.paper import PaperFeed
from trading.matching.book import AccountConfiguration
from trading.risk.parameters import RiskParameters
from trading.steps import Step
from trading.strategy.decide import Decision
from trading.strategy.ema_cross import EmaCross, EmaCrossParameters
from trading.strategy.interface import Portfolio
from trading.trader import JOURNAL, run_trader

pytestmark = pytest.mark.asyncio
_START = 1_398_988_800_000_000_000


class _OneByOne:
    """The same blocks, their quotes one by one: no ``BlockFeed`` to the session."""

    def __init__(self, inner: BlockFeed) -> None:
        self.heard_ns = inner.heard_ns
        self.prime = inner.prime
        self.events = inner.events


class _Protected(EmaCross):
    """The cross, each entry with a stop, a target and a trailing stop near enough to be reached."""

    async def decide(self, step: Step, now_ns: int, portfolio: Portfolio) -> list[Decision]:
        """Add them."""
        decisions = await super().decide(step, now_ns, portfolio)
        return [self._protect(decision, portfolio) for decision in decisions]

    def _protect(self, decision: Decision, portfolio: Portfolio) -> Decision:
        order = decision.order
        if order is None or order.reduce_only:
            return decision
        quote, instrument = portfolio.quotes[order.instrument], portfolio.instruments[order.instrument]
        side, pip = (1 if order.units > 0 else -1), float(instrument.pip)
        changed = msgspec.structs.replace(
            order,
            stop_loss_price=instrument.round_price(quote.bid - side * 4 * pip),
            take_profit_price=instrument.round_price(quote.bid + side * 6 * pip),
            trailing_stop_distance=instrument.round_price(5 * pip),
        )
        return msgspec.structs.replace(decision, order=changed)


def _config(folder: Path, names: tuple[str, ...]) -> TraderConfig:
    return TraderConfig(
        session_id="quiet",
        session_directory=folder,
        account_key="paper:quiet",
        market=BarKind.BAR,
        instruments=names,
        feature_set="bars",
        state_path=folder / "unused",
        lookback=1,
        strategy="ema-cross",
        bar_seconds=10,
        risk=RiskParameters(
            maximum_order_units=1e7,
            stale_price_seconds=120.0,
            maximum_spread_pips=1000.0,
            maximum_gross_leverage=1000.0,
            maximum_currency_leverage=1000.0,
            maximum_instrument_leverage=1000.0,
            maximum_margin_use=50.0,
            maximum_daily_loss=0.99,
            maximum_drawdown=0.99,
        ),
        status_port=None,
    )


async def _run(
    folder: Path, blocks: list[QuoteBlock], many: bool, units: int, balance: int, strategy: type[EmaCross]
) -> tuple[list[Entry], PaperBroker]:
    clock = LockstepClock()
    names = tuple(sorted({name for block in blocks for name in block.instruments}))
    broker = PaperBroker(
        {name: default_instrument(name) for name in names},
        clock,
        AccountConfiguration(balance=Decimal(balance)),
        start_ns=int(blocks[0].time_ns[0]),
    )
    config = _config(folder, names)
    blocks_feed = BlockFeed(blocks, clock)
    guard = QuoteGuard(names, config.feed, jumps=True)
    feed = PaperFeed(blocks_feed if many else _OneByOne(blocks_feed), broker, guard, clock)
    parameters = EmaCrossParameters(3, 8, Decimal(units))
    await broker.connect()
    await run_trader(
        config,
        broker,
        None,
        clock,
        feed,
        handle_signals=False,
        strategy=lambda desk, degradation: strategy(config.strategy, names, parameters),
    )
    await broker.close()
    return list(read_entries(folder / JOURNAL)), broker


def _market(names: tuple[str, ...], count: int, seed: int) -> QuoteBlock:
    """Return ticks of several instruments, some of them no prices, some at the same moment."""
    random = np.random.default_rng(seed)
    base = QuoteBlock.of(simulated_ticks(count, seed))
    which = random.integers(0, len(names), count)
    bid, ask = base.bid.copy(), base.ask.copy()
    for number, name in enumerate(names):
        if name.endswith("JPY"):
            bid[which == number] *= 75.0
            ask[which == number] *= 75.0
    time_ns = base.time_ns.copy()
    spoilt = random.choice(np.arange(50, count), 60, replace=False)
    for kind, index in enumerate(spoilt.tolist()):
        match kind % 5:
            case 0:
                bid[index] = math.nan
            case 1:
                bid[index], ask[index] = ask[index], bid[index]
            case 2:
                bid[index], ask[index] = bid[index] * 1.2, ask[index] * 1.2
            case 3:
                time_ns[index] -= 5_000_000_000
            case _:
                bid[index], ask[index], which[index] = bid[index - 1], ask[index - 1], which[index - 1]
                time_ns[index] = time_ns[index - 1]
    return QuoteBlock(names, which, time_ns, time_ns + 1_000_000, bid, ask, simulated=True)


@pytest.mark.parametrize(
    ("names", "units", "balance", "strategy", "expected"),
    [
        (("EUR_USD",), 100_000, 1_000_000, EmaCross, {"MARKET_ORDER"}),
        (("EUR_USD", "GBP_USD", "USD_JPY"), 100_000, 1_000_000, _Protected, {"STOP_LOSS_ORDER", "TAKE_PROFIT_ORDER"}),
        (("EUR_USD", "USD_JPY"), 400_000, 32_100, EmaCross, {"MARGIN_CALL_ENTER", "MARGIN_CALL_EXIT"}),
    ],
)
async def test_many_at_a_time_is_one_by_one(
    tmp_path: Path, names: tuple[str, ...], units: int, balance: int, strategy: type[EmaCross], expected: set[str]
) -> None:
    market = _market(names, 9_000, seed=len(names))
    half = QuoteBlock(
        names, *(column[:4_000] for column in (market.which, market.time_ns, market.arrival_ns)), market.bid[:4_000],
        market.ask[:4_000], simulated=True,
    )  # fmt: skip
    rest = QuoteBlock(
        names, *(column[4_000:] for column in (market.which, market.time_ns, market.arrival_ns)), market.bid[4_000:],
        market.ask[4_000:], simulated=True,
    )  # fmt: skip
    many, first = await _run(tmp_path / "many", [half, rest], True, units, balance, strategy)
    single, second = await _run(tmp_path / "single", [half, rest], False, units, balance, strategy)
    assert len(many) == len(single)
    for one, other in zip(many, single, strict=True):
        assert (one.sequence, one.kind, one.time_ns) == (other.sequence, other.kind, other.time_ns)
        if one.kind != "session_opened":  # names its folder
            assert one.payload == other.payload
    assert first.exchange.snapshot() == second.exchange.snapshot()
    candles = [await broker.candles(names[0], 60, _START, _START + 3_600_000_000_000) for broker in (first, second)]
    assert candles[0] and candles[0] == candles[1]
    assert {"quote", "quote_refused", "decision"} <= {entry.kind for entry in many}
    log = first.exchange.transactions
    happened = {getattr(transaction, "reason", "") for transaction in log} | {transaction.kind for transaction in log}
    assert expected <= happened, happened


async def test_most_quotes_are_taken_in_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    singly: list[Quote] = []
    match = PaperFeed.match

    def counting(self: PaperFeed, quote: Quote) -> None:
        singly.append(quote)
        match(self, quote)

    monkeypatch.setattr(PaperFeed, "match", counting)
    market = _market(("EUR_USD",), 9_000, seed=4)
    await _run(tmp_path, [market], True, 100_000, 1_000_000, EmaCross)
    assert 60 < len(singly) < 1_500
