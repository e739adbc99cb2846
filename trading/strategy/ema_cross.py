"""Two moving averages of the bid: long while the fast one is at or above the slow one, else short.

A rule that everybody has, so that the loop can be measured against other engines; no model and no feature is involved.
The average is ``alpha * close + (1 - alpha) * previous`` with ``alpha = 2 / (periods + 1)``, begun at the first close.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from core.domain import INPUT_COLUMNS, OrderRequest
from core.errors import BadInputError
from trading.oms.identity import client_order_id
from trading.steps import Step
from trading.strategy.decide import Decision
from trading.strategy.interface import Portfolio

_OPEN, _HIGH, _LOW, _CLOSE = (INPUT_COLUMNS.index(f"bid_{name}") for name in ("open", "high", "low", "close"))


class EmaCrossParameters(msgspec.Struct, frozen=True):
    """Periods in bars and the size of a position in units."""

    fast: int = 10
    slow: int = 20
    units: Decimal = Decimal(100_000)

    def check(self) -> None:
        """Refuse averages that cannot cross.

        Raises:
            BadInputError: naming the periods or the size.
        """
        if not 0 < self.fast < self.slow or self.units <= 0:
            raise BadInputError(
                f"an EMA cross needs 0 < fast < slow and a size, not {self.fast}, {self.slow}, {self.units}"
            )


class _Averages(msgspec.Struct):
    """Both averages of one instrument; None before the first close."""

    fast: float | None = None
    slow: float = 0.0
    bars: int = 0


class EmaCross:
    """Implements ``Strategy`` for each instrument of the session on its own."""

    def __init__(self, strategy: str, instruments: Sequence[str], parameters: EmaCrossParameters) -> None:
        """Name the strategy as the session does; ``instruments`` in the order of a step's rows."""
        parameters.check()
        self._strategy = strategy
        self._instruments = tuple(instruments)
        self._parameters = parameters
        self._fast = 2.0 / (parameters.fast + 1)
        self._slow = 2.0 / (parameters.slow + 1)
        self._averages = {name: _Averages() for name in instruments}
        self._newest_ns = 0

    @property
    def newest_ns(self) -> int:
        """Time of the newest step."""
        return self._newest_ns

    def observe(self, step: Step) -> None:
        """Take the closes in; an instrument without a bar keeps its averages."""
        self._newest_ns = step.time_ns
        for name, row in zip(self._instruments, step.rows, strict=True):
            if name in step.missing:
                continue
            close = float(row[_CLOSE])
            averages = self._averages[name]
            if averages.fast is None:
                averages.fast = averages.slow = close
            averages.fast = self._fast * close + (1.0 - self._fast) * averages.fast
            averages.slow = self._slow * close + (1.0 - self._slow) * averages.slow
            averages.bars += 1

    async def prepare(self, step: Step) -> None:
        """Nobody has to be asked."""

    async def decide(self, step: Step, now_ns: int, portfolio: Portfolio) -> Sequence[Decision]:
        """Want the side of the fast average, once both have seen enough; a bar of a single price says nothing."""
        return [
            self._decision(name, row, step, portfolio)
            for name, row in zip(self._instruments, step.rows, strict=True)
            if name not in step.missing
        ]

    def _decision(self, name: str, row: Sequence[float], step: Step, portfolio: Portfolio) -> Decision:
        averages, size = self._averages[name], self._parameters.units
        current = portfolio.positions.get(name, Decimal(0))
        wanted, reason = current, "hold"
        if averages.bars < self._parameters.slow or averages.fast is None:
            reason = "too few bars"
        elif row[_OPEN] == row[_HIGH] == row[_LOW] == row[_CLOSE]:
            reason = "a single price"
        else:
            wanted, reason = (size, "fast above slow") if averages.fast >= averages.slow else (-size, "fast below slow")
        exits_only = "reducing" if portfolio.reducing else portfolio.exits_only.get(name)
        if exits_only and abs(wanted) > 0 and wanted != current:
            wanted, reason = current if current * wanted > 0 else Decimal(0), f"{reason}; exits only: {exits_only}"
        decision_id = f"{self._strategy}:{name}:{step.time_ns}"
        change = wanted - current
        order = None
        if change:
            order = OrderRequest(
                client_order_id=client_order_id(decision_id),
                instrument=name,
                units=change,
                reduce_only=wanted == 0,
                decision_id=decision_id,
                strategy=self._strategy,
            )
        rate = portfolio.rates.get(name.partition("_")[0], 0.0)
        fraction = float(wanted) * rate / portfolio.equity if portfolio.equity > 0 else 0.0
        return Decision(name, decision_id, current, fraction, wanted, reason, order, "")

    def volatilities(self) -> Mapping[str, float]:
        """Not measured."""
        return {}

    def settle(self, step: Step, now_ns: int) -> None:
        """Nothing is kept beside the journal."""

    def finish(self) -> None:
        """Nothing is kept beside the journal."""
