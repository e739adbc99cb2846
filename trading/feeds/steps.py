"""A feed over recorded or simulated steps in this process: paper sessions on history, backtests of the whole loop."""

from collections.abc import AsyncIterator

from core.domain import Heartbeat, Quote
from trading.feeds.lockstep import LockstepClock
from trading.practice.feeds.interface import Feed as Steps


class StepFeed:
    """Yields a market's ticks step by step, each step closed by a heartbeat; the clock follows.

    Args:
        source: the same market that a practice broker would serve.
        clock: moved along.
        resume_ns: steps up to this time were yielded before a restart.
    """

    def __init__(self, source: Steps, clock: LockstepClock, resume_ns: int = 0) -> None:
        self._source = source
        self._clock = clock
        self._resume_ns = resume_ns

    @property
    def heard_ns(self) -> int:
        """0: without its source there is no next event at all."""
        return 0

    async def prime(self) -> list[Quote | Heartbeat]:
        opening = {quote.instrument: quote for quote in self._source.opening()}
        for step in self._source.steps(0, opening):
            if step.time_ns > self._resume_ns:
                break
            opening |= {quote.instrument: quote for quote in step.quotes}
        standing = sorted(opening.values(), key=lambda quote: (quote.time_ns, quote.instrument))
        self._clock.advance_to(max(self._source.start_ns, self._resume_ns))
        return [*standing]

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        opening = {quote.instrument: quote for quote in self._source.opening()}
        for step in self._source.steps(0, opening):
            if step.time_ns <= self._resume_ns:
                continue
            for quote in step.quotes:
                self._clock.advance_to(quote.time_ns)
                yield quote
            self._clock.advance_to(step.time_ns)
            yield Heartbeat(step.time_ns, step.time_ns)
