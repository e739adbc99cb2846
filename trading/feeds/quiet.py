"""History through the loop at the speed of columns: quotes of which nothing can come are taken in many at a time.

Between two steps nearly every quote of a recording does the same few things: the guard believes it, it moves a bar,
the exchange lets it stand, the journal gets an entry. For a run of quotes that do exactly that, guard, bar, exchange
and journal are brought to where they would be after the last one, by compiled code, with the same bytes on disk. The
first quote of which more may come (a bar begins, a boundary is reached, an order or the margin call is near, a price
is doubtful, somebody has asked for the loop) goes the whole way by itself, so there is one definition of what happens
then. ``tests`` hold both ways to the same journal.
"""

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from core.crash_points import reach
from core.domain import Heartbeat, Quote
from trading import records
from trading.bars import BarBuilder
from trading.brokers.paper import PaperBroker
from trading.desk import Desk
from trading.feeds.blocks import BlockFeed, QuoteBlock
from trading.feeds.guard import QuoteGuard
from trading.feeds.lockstep import LockstepClock
from trading.feeds.paper import PaperFeed
from trading.feeds.quiet_kernel import (
    ASK_HIGH,
    ASK_LOW,
    BID_HIGH,
    BID_LOW,
    LAST,
    MIDDLE,
    NEWEST,
    TICKS,
    Bytes,
    Floats,
    Integers,
    quiet_run,
    write_payloads,
)
from trading.metrics import TraderMetrics
from trading.steps import StepAssembler
from trading.upkeep import Upkeep

_LONGEST = 2048  # quotes at a time: about what the journal writes at once
_SMALLEST = 2**32  # from here on MessagePack writes a number with eight bytes
_SENTINELS = (2**61 + 1, 2**61 + 3, 1.0000000123, 1.0000000456)  # time, arrival, bid, ask of a template


class QuietFeed:
    """Wraps the feed of a paper session on history.

    Args:
        paper: whose inner feed has blocks; matches what goes the whole way.
        inner: that feed.
        broker, clock, guard, assembler, builder, desk, upkeep, metrics: of the session.
    """

    def __init__(
        self,
        paper: PaperFeed,
        inner: BlockFeed,
        broker: PaperBroker,
        clock: LockstepClock,
        guard: QuoteGuard,
        assembler: StepAssembler,
        builder: BarBuilder,
        desk: Desk,
        upkeep: Upkeep,
        metrics: TraderMetrics,
    ) -> None:
        self._paper = paper
        self._inner = inner
        self._broker = broker
        self._clock = clock
        self._guards = [guard] if paper.guard is None else [guard, paper.guard]
        self._assembler = assembler
        self._builder = builder
        self._desk = desk
        self._upkeep = upkeep
        self._metrics = metrics

    @property
    def heard_ns(self) -> int:
        """0: nobody watches for silence."""
        return self._inner.heard_ns

    async def prime(self) -> list[Quote | Heartbeat]:
        """Prime and match."""
        return await self._paper.prime()

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        """Yield the quotes of which more may come; the others are behind us when the next one is asked for."""
        for block, begin in self._inner.blocks():
            run = _Block(block)
            at = begin
            while at < len(block):
                at = self._pass(run, at)
                if at == len(block):
                    break
                quote = block.quote(at)
                self._clock.advance_to(quote.time_ns)
                self._paper.match(quote)
                yield quote
                at += 1
            await asyncio.sleep(0)  # signals and the status page get their turn

    def _is_calm(self) -> bool:
        return not self._assembler.empty and self._upkeep.at_rest() and not self._desk.hears(records.QuoteSeen)

    def _pass(self, run: "_Block", begin: int) -> int:
        """Take in what nothing can come of; return the index of the first quote left over."""
        until = self._broker.quiet_until() if self._is_calm() else None
        if until is None or not run.plain:
            return begin
        block, instruments = run.block, run.block.instruments
        times = np.zeros((len(instruments), 5), np.int64)
        prices = np.zeros((len(instruments), 5), np.float64)
        bounds = np.empty((len(instruments), 4), np.float64)
        guard = self._guards[0]
        for number, name in enumerate(instruments):
            bar, seen = self._builder.open_bar(name), guard.seen.get(name)
            standing, around = self._broker.standing(name), self._broker.quiet_bounds(name)
            if bar is None or seen is None or standing is None or around is None:
                bounds[number] = np.inf, -np.inf, np.inf, -np.inf  # its quotes go the whole way
                continue
            times[number] = seen.newest_ns, bar.close_ns, bar.ticks, -1, standing.time_ns
            prices[number] = seen.middle, bar.bid_high, bar.bid_low, bar.ask_high, bar.ask_low
            bounds[number] = around
        end = quiet_run(
            block.which,
            block.time_ns,
            block.bid,
            block.ask,
            begin,
            min(len(block), begin + _LONGEST),
            self._clock.time_ns(),
            min(until, self._assembler.next_boundary),
            guard.jump,
            bounds,
            times,
            prices,
            run.stamps,
        )
        if end > begin:
            self._settle(run, begin, end, times, prices)
        return end

    def _settle(self, run: "_Block", begin: int, end: int, times: Integers, prices: Floats) -> None:
        """Bring everything to where it would be after the last of these quotes."""
        block = run.block
        self._clock.advance_to(int(run.stamps[end - 1]))
        newest: list[Quote] = []
        for number, name in enumerate(block.instruments):
            last = int(times[number, LAST])
            bar = self._builder.open_bar(name)
            if last < 0 or bar is None:
                continue
            quote = block.quote(last)
            newest.append(quote)
            bar.bid_high, bar.bid_low = float(prices[number, BID_HIGH]), float(prices[number, BID_LOW])
            bar.ask_high, bar.ask_low = float(prices[number, ASK_HIGH]), float(prices[number, ASK_LOW])
            bar.ticks, bar.last = int(times[number, TICKS]), quote
            bar.simulated = bar.simulated or quote.simulated
            self._builder.passed(name, quote.time_ns)
            for guard in self._guards:
                seen = guard.seen[name]
                seen.newest_ns = int(times[number, NEWEST])
                if guard.jump:
                    seen.middle, seen.doubtful = float(prices[number, MIDDLE]), 0
            mine = run.rows_of(number, begin, end)
            self._broker.pass_over(quote, block.time_ns[mine], block.bid[mine], block.ask[mine])
        payloads, sizes = run.payloads(begin, end)
        self._desk.note_run(newest, run.stamps[begin:end], payloads, sizes)
        reach("quote.noted")
        self._metrics.quotes_seen += end - begin


class _Block:
    """A block and what is made for it once."""

    def __init__(self, block: QuoteBlock) -> None:
        self.block = block
        self.stamps = np.empty(len(block), np.int64)
        self._columns = np.stack([block.time_ns, block.arrival_ns, block.bid.view(np.int64), block.ask.view(np.int64)])
        self.plain = bool((self._columns[:2] >= _SMALLEST).all())
        self._templates, self._offsets, self._sizes = _templates(block)

    def rows_of(self, number: int, begin: int, end: int) -> slice | Integers:
        """Return which of the quotes are of that instrument."""
        if len(self.block.instruments) == 1:
            return slice(begin, end)
        return begin + np.flatnonzero(self.block.which[begin:end] == number)

    def payloads(self, begin: int, end: int) -> tuple[Bytes, Integers]:
        """Return the records of quotes, uint8 [n, L], and how long each is, int64 [n]."""
        out = np.empty((end - begin, self._templates.shape[1]), np.uint8)
        write_payloads(self.block.which, self._columns, begin, end, self._templates, self._offsets, out)
        return out, self._sizes[self.block.which[begin:end]]


def _templates(block: QuoteBlock) -> tuple[Bytes, Integers, Integers]:
    """Return per instrument the record of some quote, where its four numbers stand in it, and its length.

    MessagePack writes times after 1970 and all floats with eight bytes after a head.
    """
    time_ns, arrival_ns, bid, ask = _SENTINELS
    encoded: list[bytes] = []
    offsets = np.empty((len(block.instruments), 4), np.int64)
    wanted = [value.to_bytes(8, "big") for value in (time_ns, arrival_ns)]
    wanted += [np.float64(value).byteswap().tobytes() for value in (bid, ask)]
    for number, name in enumerate(block.instruments):
        quote = Quote(name, time_ns, arrival_ns, bid, ask, simulated=block.simulated)
        encoded.append(records.encode(records.QuoteSeen(quote)))
        offsets[number] = [encoded[-1].index(content) for content in wanted]
    sizes = np.array([len(content) for content in encoded], np.int64)
    templates = np.zeros((len(encoded), int(sizes.max())), np.uint8)
    for number, content in enumerate(encoded):
        templates[number, : len(content)] = np.frombuffer(content, np.uint8)
    return templates, offsets, sizes
