"""The trading loop on bars walked tick by tick: what the backtester must be equal to, trade for trade."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.clock import from_rfc3339
from core.domain import BarKind, Heartbeat, Panel, Quote
from trading.brokers.paper import PaperBroker
from trading.config import TraderConfig
from trading.execution.parameters import ExecutionParameters
from trading.feeds.lockstep import LockstepClock
from trading.feeds.paper import PaperFeed
from trading.matching.book import AccountConfiguration
from trading.matching.transactions import DailyFinancing, OrderFill
from trading.risk.parameters import RiskParameters
from trading.strategy.interface import Strategy
from trading.trader import run_trader
from training.backtest import Market

HOUR = 3_600_000_000_000
START = 1_398_902_400_000_000_000  # 2014-05-01 00:00 UTC, a Thursday
WIDE = RiskParameters(
    maximum_order_units=1e9,
    maximum_gross_leverage=1e6,
    maximum_currency_leverage=1e6,
    maximum_instrument_leverage=1e6,
    maximum_margin_use=1e6,
    maximum_daily_loss=10.0,
    maximum_drawdown=10.0,
    maximum_spread_pips=1e6,
    stale_price_seconds=1e9,
    maximum_orders_per_minute=10**9,
)
Event = Quote | Heartbeat


class Closed(NamedTuple):
    """A closed (part of a) trade as the exchange booked it."""

    instrument: str
    entry_ns: int
    exit_ns: int
    units: Decimal
    entry_price: Decimal
    exit_price: Decimal
    profit: Decimal
    reason: str


class Account(NamedTuple):
    """What the exchange says at the end."""

    closed: list[Closed]
    balance: Decimal
    commission: Decimal
    financing: Decimal
    open_units: dict[str, Decimal]
    cancelled: int


def random_panel(names: Sequence[str], prices: Sequence[float], steps: int, seed: int, pip: float = 8.0) -> Panel:
    """Return hourly bars in whole ticks: a random walk of ``pip`` pips a bar, spreads of 0.5 to 3 pips."""
    generator = np.random.default_rng(seed)
    values = np.full((steps, len(names), 9), np.nan)
    for index, (name, price) in enumerate(zip(names, prices, strict=True)):
        scale = 1e3 if name.endswith("JPY") else 1e5
        moves = np.rint(generator.standard_t(4, (steps, 4)) * pip * 10 / 2).astype(np.int64)
        close = np.rint(price * scale).astype(np.int64) + np.cumsum(moves[:, 0] + moves[:, 3])
        opening = np.concatenate([[close[0]], close[:-1]]) + moves[:, 3] // 3
        high = np.maximum(opening, close) + np.abs(moves[:, 1])
        low = np.minimum(opening, close) - np.abs(moves[:, 2])
        bars = np.stack([opening, high, low, close], axis=1)
        spread = generator.integers(5, 31, (steps, 4))
        asks = bars + spread
        asks[:, 1], asks[:, 2] = asks.max(axis=1), asks.min(axis=1)
        values[:, index, :4], values[:, index, 4:8] = bars / scale, asks / scale
        values[:, index, 8] = 1.0
    time_ns = START + HOUR * np.arange(1, steps + 1, dtype=np.int64)
    return Panel(tuple(names), time_ns, np.repeat(time_ns[:, None], len(names), axis=1), values, BarKind.BAR)


def walked(market: Market, paths: NDArray[np.int8], order: Sequence[str], heartbeat_first: bool) -> list[list[Event]]:
    """Return the events of each bar: opens, then each instrument's way through its bar in turn, one tick at a time.

    On a leg of n = max(|Δbid|, |Δask|) steps the bid of step i is bid0 ± |Δbid|·i // n, the ask likewise.

    Args:
        market: whose traded prices are walked.
        paths: int8 [T, N], 1 high first, 2 low first, 0 by the bar's direction.
        order: which instrument goes first.
        heartbeat_first: whether the bar before is closed ahead of the opens (decisions trade at its close) or behind.
    """
    rows: list[list[Event]] = []
    scales = [10.0**instrument.display_precision for instrument in market.instruments]
    for row in range(len(market)):
        moment = int(market.open_ns[row])
        beat = Heartbeat(moment, moment)
        opens: list[Event] = []
        ways: dict[str, list[Quote]] = {}
        count = 0
        for column, name in enumerate(market.names):
            if not market.present[row, column]:
                continue
            prices = market.prices[row, column].astype(int).tolist()
            scale = scales[column]
            opens.append(Quote(name, moment, moment, prices[0] / scale, prices[4] / scale))
            first = int(paths[row, column]) or (2 if prices[3] >= prices[0] else 1)
            places = (1, 2, 3) if first == 1 else (2, 1, 3)
            bid, ask = prices[0], prices[4]
            ways[name] = []
            for place in places:
                end_bid, end_ask = prices[place], prices[4 + place]
                steps = max(abs(end_bid - bid), abs(end_ask - ask))
                for i in range(1, steps + 1):
                    now_bid = bid + (1 if end_bid > bid else -1) * (abs(end_bid - bid) * i // steps)
                    now_ask = ask + (1 if end_ask > ask else -1) * (abs(end_ask - ask) * i // steps)
                    ways[name].append(Quote(name, 0, 0, now_bid / scale, now_ask / scale))
                bid, ask = end_bid, end_ask
            count += len(ways[name])
        gap = (int(market.time_ns[row]) - moment) // (count + 2)
        events: list[Event] = [beat, *opens] if heartbeat_first else [*opens, beat]
        time = moment
        for name in order:
            for quote in ways.get(name, ()):
                time += gap
                events.append(Quote(name, time, time, quote.bid, quote.ask))
        rows.append(events)
    return rows


class WalkedFeed:
    """The events in order, the clock following."""

    def __init__(self, rows: list[list[Event]], clock: LockstepClock, instruments: int) -> None:
        self._events = [event for row in rows for event in row]
        self._clock = clock
        self._standing = instruments

    @property
    def heard_ns(self) -> int:
        return 0

    async def prime(self) -> list[Event]:
        first = [event for event in self._events if isinstance(event, Quote)][: self._standing]
        self._events = [event for event in self._events if event not in first]
        self._clock.advance_to(first[0].time_ns)
        return list(first)

    async def events(self) -> AsyncIterator[Event]:
        for event in self._events:
            self._clock.advance_to(event.time_ns)
            yield event


def trade_in_loop(
    market: Market,
    rows: list[list[Event]],
    strategy: Strategy,
    folder: Path,
    configuration: AccountConfiguration,
) -> Account:
    """Run a session of the trading loop with the paper broker and return what its exchange booked."""
    clock = LockstepClock()
    instruments = {instrument.name: instrument for instrument in market.instruments}
    config = TraderConfig(
        session_id="equal",
        session_directory=folder,
        account_key="paper:equal",
        market=BarKind.BAR,
        instruments=market.names,
        strategy="rule",
        bar_seconds=3600,
        step_timeout_seconds=5.0,
        account_currency=market.currency,
        risk=WIDE,
        execution=ExecutionParameters(),
        status_port=None,
    )

    async def session() -> Account:
        broker = PaperBroker(instruments, clock, configuration, start_ns=int(market.open_ns[0]))
        await broker.connect()
        feed = PaperFeed(WalkedFeed(rows, clock, len(instruments)), broker)
        await run_trader(
            config, broker, None, clock, feed, handle_signals=False, strategy=lambda desk, degradation: strategy
        )
        result = booked(broker)
        await broker.close()
        return result

    return asyncio.run(session())


def booked(broker: PaperBroker) -> Account:
    """Read trades and sums from the exchange's own log."""
    book = broker.exchange.book
    closed: list[Closed] = []
    for transaction in broker.exchange.transactions:
        if not isinstance(transaction, OrderFill):
            continue
        parts = [
            *(transaction.trades_closed or ()),
            *([transaction.trade_reduced] if transaction.trade_reduced else []),
        ]
        for part in sorted(parts, key=lambda item: int(item.trade_id)):
            trade = book.trades[part.trade_id]
            closed.append(
                Closed(
                    trade.instrument,
                    from_rfc3339(trade.open_time),
                    from_rfc3339(transaction.time),
                    -part.units,
                    trade.price,
                    part.price,
                    part.realized_pl,
                    transaction.reason,
                )
            )
    units: dict[str, Decimal] = {}
    for name, trades in broker.exchange.log.open_trades.items():
        units[name] = sum((trade.units for trade in trades.values()), Decimal(0))
    charged = sum(
        (item.financing for item in broker.exchange.transactions if isinstance(item, DailyFinancing)), Decimal(0)
    )
    cancelled = sum(
        1 for order in book.orders.values() if order.type in ("MARKET", "LIMIT") and order.state == "CANCELLED"
    )
    return Account(closed, book.balance, book.commission, charged, units, cancelled)
