"""What decides at a step. The loop keeps everything else: catch-up, risk state, records, sending, progress.

A step runs ``observe`` → ``prepare`` → (the loop catches up with the broker) → ``decide`` → (orders) → ``settle``.
A step that closed while the trader was away, and every step of the journal after a restart, is only observed.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from core.domain import Instrument, Quote
from trading.steps import Step
from trading.strategy.decide import Decision


class Portfolio(msgspec.Struct, frozen=True):
    """What a decision may look at besides its own bars, as it stands after the catch-up.

    Attributes:
        equity: in account currency, at the standing quotes.
        positions: signed units of the instruments that are not flat.
        quotes: the standing quote of each instrument.
        rates: the account currency's worth of one unit of each currency.
        instruments: what can be traded.
        exits_only: instruments that may not get more risk, and why (no bar, stale price).
        reducing: whether the whole account may only lower its positions.
    """

    equity: float
    positions: Mapping[str, Decimal]
    quotes: Mapping[str, Quote]
    rates: Mapping[str, float]
    instruments: Mapping[str, Instrument]
    exits_only: Mapping[str, str]
    reducing: bool


class Strategy(Protocol):
    """Turns the steps of a session into decisions.

    It reads no clock: the loop reads it once for each decision and hands it in, so that the same journal gives the same
    decisions again. What it remembers is a fold of the observed steps and survives a restart by being observed again.
    """

    @property
    def newest_ns(self) -> int:
        """Time of the newest step taken in; 0 before the first. Steps between it and now are filled in."""
        ...

    def observe(self, step: Step) -> None:
        """Take the bars of a step in. Steps come in the order of their times, each once."""
        ...

    async def prepare(self, step: Step) -> None:
        """Ask whoever has to be asked before the decision. May wait; raises nothing a decision can do without."""
        ...

    async def decide(self, step: Step, now_ns: int, portfolio: Portfolio) -> Sequence[Decision]:
        """Return one decision for each instrument it cares for; without an order where nothing is to be done.

        Args:
            step: the one observed and prepared last.
            now_ns: the session's time, read once for this decision.
            portfolio: positions and prices.
        """
        ...

    def volatilities(self) -> Mapping[str, float]:
        """Volatility of a one-step log return by instrument; absent or NaN where it is not known."""
        ...

    def settle(self, step: Step, now_ns: int) -> None:
        """Do what may wait until the orders are out: publish, save a snapshot."""
        ...

    def finish(self) -> None:
        """Write what is kept of the session: it ends."""
        ...
