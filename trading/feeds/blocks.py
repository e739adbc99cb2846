"""Quotes as columns: what recorded or simulated history is read as, and the feed that plays it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import Heartbeat, Quote
from core.errors import BadInputError
from trading.feeds.lockstep import LockstepClock

Times = NDArray[np.int64]
Prices = NDArray[np.float64]


@dataclass(frozen=True)
class QuoteBlock:
    """Tradeable quotes in the order they came, n of them.

    Attributes:
        instruments: names.
        which: int64 [n], index into ``instruments``.
        time_ns, arrival_ns: int64 [n].
        bid, ask: float64 [n]; not checked, a feed's guard does that.
        simulated: whether they are nobody's.
    """

    instruments: tuple[str, ...]
    which: Times
    time_ns: Times
    arrival_ns: Times
    bid: Prices
    ask: Prices
    simulated: bool = False

    def __len__(self) -> int:
        return len(self.time_ns)

    @classmethod
    def of(cls, quotes: Sequence[Quote]) -> "QuoteBlock":
        """Return quotes as columns.

        Raises:
            BadInputError: one is not tradeable, or only some are simulated.
        """
        if len({quote.simulated for quote in quotes}) > 1 or not all(quote.tradeable for quote in quotes):
            raise BadInputError("a block holds tradeable quotes, all simulated or none: split it")
        names = tuple(sorted({quote.instrument for quote in quotes}))
        index = {name: number for number, name in enumerate(names)}
        return cls(
            names,
            np.array([index[quote.instrument] for quote in quotes], np.int64),
            np.array([quote.time_ns for quote in quotes], np.int64),
            np.array([quote.arrival_ns for quote in quotes], np.int64),
            np.array([quote.bid for quote in quotes], np.float64),
            np.array([quote.ask for quote in quotes], np.float64),
            bool(quotes) and quotes[0].simulated,
        )

    def quote(self, index: int) -> Quote:
        """Return one of them."""
        return Quote(
            self.instruments[int(self.which[index])],
            int(self.time_ns[index]),
            int(self.arrival_ns[index]),
            float(self.bid[index]),
            float(self.ask[index]),
            simulated=self.simulated,
        )


class BlockFeed:
    """Plays blocks, the clock following.

    Args:
        blocks: in the order of time, the first one not empty.
        clock: moved along.
    """

    def __init__(self, blocks: Sequence[QuoteBlock], clock: LockstepClock) -> None:
        if not blocks or not len(blocks[0]):
            raise BadInputError("no quotes to play: give at least one")
        self._blocks = blocks
        self._clock = clock

    @property
    def heard_ns(self) -> int:
        """0: nobody watches for silence."""
        return 0

    async def prime(self) -> list[Quote | Heartbeat]:
        """The first quote stands when the session begins."""
        first = self._blocks[0].quote(0)
        self._clock.advance_to(first.time_ns)
        return [first]

    def blocks(self) -> Sequence[tuple[QuoteBlock, int]]:
        """Return the blocks, each with the index of the first quote that comes after ``prime``."""
        return [(block, 0 if number else 1) for number, block in enumerate(self._blocks)]

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        """Yield the others one by one."""
        for block, begin in self.blocks():
            for index in range(begin, len(block)):
                quote = block.quote(index)
                self._clock.advance_to(quote.time_ns)
                yield quote
