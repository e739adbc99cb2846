"""What a feed is: a list of steps, each the ticks up to and including a natural boundary (a fixing, a bar close)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from core.domain import Quote


@dataclass(frozen=True)
class Step:
    """Ticks in time order, none after ``time_ns``. ``index`` counts from 0 at the feed's start."""

    index: int
    time_ns: int
    quotes: tuple[Quote, ...]


class Feed(Protocol):
    """A source of steps."""

    @property
    def instruments(self) -> tuple[str, ...]:
        """The pairs it quotes, sorted."""
        ...

    @property
    def start_ns(self) -> int:
        """The time of the opening quotes; the first step ends later."""
        ...

    def opening(self) -> list[Quote]:
        """One quote an instrument, standing before the first step, so that conversions work from the beginning."""
        ...

    def steps(self, first: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        """Yield the steps from index ``first`` on.

        Args:
            first: where to go on after a restart.
            standing: the quotes that stood after step ``first - 1``; feeds over recorded data do not need them.
        """
        ...


@runtime_checkable
class SkippingFeed(Feed, Protocol):
    """A feed that can go on at a later time without making what lies between: what a real clock needs."""

    def skip(self, time_ns: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        """Yield the steps that begin at ``time_ns`` or later, going on from the ``standing`` quotes."""
        ...
