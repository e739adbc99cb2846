"""The venue: the exchange, the feed, the market clock and the streams of one running practice broker.

Order of things for every input: write it to the journal, apply it, publish what it made. A tick is matched before it
is published, and what it caused is published before the next tick. Everything here runs on the event loop without
awaiting, so a request sees a consistent market.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core.clock import NANOSECONDS, to_rfc3339
from core.domain import Instrument, Quote
from core.logging import get_logger
from trading.matching.commands import AnyCommand, Halt, Ticks
from trading.matching.exchange import Exchange
from trading.matching.transactions import AnyTransaction
from trading.practice import views
from trading.practice.candles import TickStore
from trading.practice.config import ClockMode, PracticeConfig
from trading.practice.faults import Fault, Faults
from trading.practice.feeds.interface import Feed, SkippingFeed, Step
from trading.practice.persistence import Store
from trading.practice.recovery import check_recovered
from trading.practice.replies import ENCODER
from trading.practice.streams import Streams

log = get_logger("practice")

_LONGEST_WALK_NS = 10 * NANOSECONDS


@dataclass(frozen=True)
class Advance:
    """What moving the market clock did."""

    time_ns: int
    ticks: int
    end: bool


class Venue:
    """One account on one feed."""

    def __init__(self, config: PracticeConfig, instruments: dict[str, Instrument], feed: Feed, store: Store) -> None:
        """Open the market, or go on where the store says it stopped."""
        self.config = config
        self.feed = feed
        self.store = store
        self.faults = Faults()
        self.streams = Streams(config.heartbeat_seconds, self.faults)
        self.ticks = {name: TickStore() for name in instruments}
        self.tick_count = 0
        self.base_url = ""  # known once the server listens
        self.next_step = 0
        self._offset = 0  # ticks of the step that are already out
        self.ended = False
        self.ticks_while_closed = 0  # left out: the market had no hours then
        self._shown_open: dict[str, bool] = {}  # what the price streams were last told about the hours
        recovered = store.recover(instruments)
        opening = feed.opening()
        if recovered is None:
            self.exchange = Exchange(instruments, config.account(), feed.start_ns)
            for quote in opening:
                self.exchange.on_quote(quote)
            store.begin(self.exchange)
        else:
            self.exchange, (self.next_step, self._offset) = recovered
            check_recovered(self.exchange.book, config, feed)
        self._refill(opening)
        if config.clock is ClockMode.REAL and recovered is not None and isinstance(feed, SkippingFeed):
            self._steps = feed.skip(time.time_ns(), self.exchange.book.quotes)  # nobody saw what lies between
            self._offset = 0
        else:
            self._steps: Iterator[Step] = feed.steps(self.next_step, self.exchange.book.quotes)
        self._step: Step | None = next(self._steps, None)
        self.ended = self._step is None
        if self._step is not None:
            self.next_step = self._step.index
        self._show_hours()

    def _refill(self, opening: list[Quote]) -> None:
        """Fill the candle store with what was already published before a restart; the feed is deterministic.

        In real time it is left empty: ticks that fell due while the server was away were never published.
        """
        for quote in opening:
            self.ticks[quote.instrument].add(quote)
        if self.config.clock is ClockMode.REAL or not (self.next_step or self._offset):
            return
        for step in self.feed.steps(0, {quote.instrument: quote for quote in opening}):
            past = step.index < self.next_step
            for quote in self._in_hours(list(step.quotes if past else step.quotes[: self._offset])):
                self.ticks[quote.instrument].add(quote)
                self.tick_count += 1
            if not past:
                break

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def time_ns(self) -> int:
        """The market clock."""
        standing = self.exchange.book.time_ns
        return max(standing, time.time_ns()) if self.config.clock is ClockMode.REAL else standing

    def advance(self, to_ns: int | None = None) -> Advance:
        """Publish every tick up to and including the next step, or every tick up to ``to_ns``; then a heartbeat."""
        if to_ns is None:
            step = self._step
            if step is None:
                self.ended = True
                return Advance(self.time_ns, 0, True)
            to_ns = step.time_ns
        done = self.run_to(to_ns)
        self.heartbeat()
        return done

    def run_to(self, to_ns: int) -> Advance:
        """Publish every tick up to ``to_ns``, without a heartbeat."""
        quotes = self._take(to_ns)
        self._publish_ticks(quotes, to_ns)
        self.ended = self._step is None
        return Advance(to_ns, len(quotes), self.ended)

    def _take(self, to_ns: int) -> list[Quote]:
        """Take the feed's ticks up to ``to_ns`` and move the cursor.

        A step that ends at ``to_ns`` is the last one taken: the opening tick of the next bar has the same time, and
        whoever decides at the boundary must not know it yet.
        """
        taken: list[Quote] = []
        while self._step is not None:
            quotes = self._step.quotes
            while self._offset < len(quotes) and quotes[self._offset].time_ns <= to_ns:
                taken.append(quotes[self._offset])
                self._offset += 1
            ends = self._step.time_ns
            if ends > to_ns:
                break
            self.next_step, self._offset = self._step.index + 1, 0
            self._step = next(self._steps, None)
            if ends == to_ns:
                break
        return taken

    def _publish_ticks(self, quotes: list[Quote], to_ns: int) -> None:
        """Match and publish ticks, one by one."""
        fault = self.faults.for_market() if self.faults.armed else None
        if fault is not None:
            self.halt_for(fault)
        quotes = self._in_hours(quotes)
        command = Ticks(time_ns=to_ns, quotes=tuple(quotes), cursor=(self.next_step, self._offset))
        self.store.append(command)
        for quote in quotes:
            transactions = self.exchange.on_quote(quote)
            self.ticks[quote.instrument].add(quote)
            if self.streams.wants_price(quote.instrument):
                self.streams.price(quote.instrument, self.price_line(quote))
            self._publish(transactions)
        self.tick_count += len(quotes)
        self._publish(self.exchange.apply(Ticks(time_ns=to_ns)))
        self._show_hours()
        self.store.compact(self.exchange, command.cursor or (0, 0))

    def _in_hours(self, quotes: list[Quote]) -> list[Quote]:
        """Leave out what a feed says while the market is closed, and count it."""
        hours = self.exchange.market.hours
        if not hours.limited:
            return quotes
        kept = [quote for quote in quotes if hours.is_open(quote.instrument, quote.time_ns)]
        self.ticks_while_closed += len(quotes) - len(kept)
        return kept

    def _show_hours(self) -> None:
        """Send the standing quote of each instrument whose market has opened or closed."""
        hours = self.exchange.market.hours
        if not hours.limited:
            return
        for name in sorted(self.exchange.book.quotes):
            is_open = hours.is_open(name, self.exchange.book.time_ns)
            if self._shown_open.setdefault(name, is_open) != is_open:
                self._shown_open[name] = is_open
                self.republish(name)

    def hours_changed(self, time_ns: int) -> bool:
        """Return whether a market has opened or closed since the price streams were told."""
        hours = self.exchange.market.hours
        if not hours.limited:
            return False
        return any(hours.is_open(name, time_ns) != shown for name, shown in self._shown_open.items())

    def publish(self, quote: Quote) -> None:
        """Take one quote of a live feed."""
        self._publish_ticks([quote], max(quote.time_ns, self.exchange.book.time_ns))

    def skip_to(self, time_ns: int) -> None:
        """Leave out the feed's ticks before ``time_ns``: nobody was there to see them.

        A few are taken out one by one, so that the walk goes on; a long stretch is not made at all.
        """
        due = self.next_tick()
        if due is not None and time_ns - due > _LONGEST_WALK_NS and isinstance(self.feed, SkippingFeed):
            self._steps = self.feed.skip(time_ns, self.exchange.book.quotes)
            self._offset = 0
            self._step = next(self._steps, None)
            if self._step is not None:
                self.next_step = self._step.index
        else:
            self._take(time_ns)

    def next_tick(self) -> int | None:
        """Return the time of the next tick or boundary of the feed, None at its end."""
        if self._step is None:
            return None
        quotes = self._step.quotes
        return quotes[self._offset].time_ns if self._offset < len(quotes) else self._step.time_ns

    # -- commands ------------------------------------------------------------------------------------------------

    def apply(self, command: AnyCommand) -> list[AnyTransaction]:
        """Journal, apply and publish one command."""
        self.store.append(command)
        transactions = self.exchange.apply(command)
        self._publish(transactions)
        return transactions

    def _publish(self, transactions: list[AnyTransaction]) -> None:
        for transaction in transactions:
            self.streams.transaction(ENCODER.encode(transaction) + b"\n")

    def halt_for(self, fault: Fault) -> None:
        """Halt the instrument of a fault, or all, for its seconds of market time (0: until resumed)."""
        until = self.time_ns + round(fault.seconds * NANOSECONDS) if fault.seconds else None
        for name in [fault.instrument] if fault.instrument else sorted(self.exchange.instruments):
            self.apply(Halt(time_ns=self.time_ns, instrument=name, halted=True, until_ns=until))
            self.republish(name)

    def republish(self, instrument: str) -> None:
        """Send the standing quote again: its status changed."""
        quote = self.exchange.book.quotes.get(instrument)
        if quote is not None:
            self.streams.price(instrument, self.price_line(quote))

    # -- lines of the streams ------------------------------------------------------------------------------------

    def price_line(self, quote: Quote) -> bytes:
        """Return a PRICE line."""
        return ENCODER.encode(views.price(self.exchange, quote)) + b"\n"

    def price_heartbeat(self) -> bytes:
        """Return the heartbeat of the pricing stream, at the market clock's time."""
        return ENCODER.encode({"type": "HEARTBEAT", "time": to_rfc3339(self.time_ns)}) + b"\n"

    def transaction_heartbeat(self) -> bytes:
        """Return the heartbeat of the transaction stream."""
        body = {
            "type": "HEARTBEAT",
            "lastTransactionID": self.exchange.log.last_id,
            "time": to_rfc3339(self.time_ns),
        }
        return ENCODER.encode(body) + b"\n"

    def heartbeat(self) -> None:
        """Send a heartbeat on every stream now."""
        self.streams.heartbeat(self.price_heartbeat(), self.transaction_heartbeat())

    def state(self) -> dict[str, Any]:
        """Return what the admin API says about the venue."""
        return {
            "time": to_rfc3339(self.time_ns),
            "clock": str(self.config.clock),
            "speed": self.config.speed,
            "step": self.next_step,
            "ticks": self.tick_count,
            "end": self.ended,
            "ticksWhileClosed": self.ticks_while_closed,
            "lastTransactionID": self.exchange.log.last_id,
            "streams": {
                kind: sum(subscriber.kind == kind for subscriber in self.streams.subscribers)
                for kind in ("pricing", "transactions")
            },
            "halted": list(self.exchange.book.halted),
        }
