"""A rule in the event loop: the compiled step of the backtester, one bar at a time."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.clock import NANOSECONDS
from core.domain import Instrument, OrderRequest, OrderType, TimeInForce
from trading.matching.validation import trailing_limits
from trading.oms.identity import client_order_id
from trading.steps import Step
from trading.strategy.decide import Decision
from trading.strategy.interface import Portfolio
from trading.strategy.rules.catalogue import Rule
from trading.strategy.rules.columns import ASK_CLOSE, BID_CLOSE, HOLD, Signal
from trading.strategy.rules.order import (
    DECAY,
    FIXED,
    KIND,
    UNITS,
    Plan,
    Terms,
    plan_order,
    take_return,
    volatility_of,
    wanted_units,
)
from trading.strategy.rules.step import rule_step


class _Seen(msgspec.Struct):
    """What was seen of one instrument: the rule's own state, and that of the volatility."""

    state: NDArray[np.float64]
    signal: Signal = HOLD
    returns: float = 0.0
    middle: float = 0.0
    variance: float = 0.0


class RuleStrategy:
    """Implements ``Strategy`` for each instrument of the session on its own.

    Args:
        strategy: names the decisions, as the session does.
        instruments: in the order of a step's rows.
        rule: what decides.
        parameters: float64 [K], columns as ``Rule.names``.
        sizing: float64 [7], columns as in ``trading.strategy.rules.order``.
        bar_seconds: length of a bar: how long a limit order waits.

    Raises:
        BadInputError: a parameter is out of range.
    """

    def __init__(
        self,
        strategy: str,
        instruments: Sequence[str],
        rule: Rule,
        parameters: NDArray[np.float64],
        sizing: NDArray[np.float64],
        bar_seconds: int,
    ) -> None:
        self._strategy = strategy
        self._instruments = tuple(instruments)
        self._rule = rule
        self._parameters = rule.check(np.atleast_2d(parameters))[0]
        self._sizing = np.ascontiguousarray(sizing, np.float64)
        self._length_ns = bar_seconds * NANOSECONDS
        size = rule.state_size(self._parameters[None])
        self._seen = {name: _Seen(np.zeros(size)) for name in instruments}
        self._terms: dict[str, Terms] = {}
        self._newest_ns = 0

    @property
    def newest_ns(self) -> int:
        """Time of the newest step."""
        return self._newest_ns

    def observe(self, step: Step) -> None:
        """Take the bars in; an instrument without one keeps its state and says nothing."""
        self._newest_ns = step.time_ns
        width = step.rows.shape[1]
        bars = np.ascontiguousarray(step.rows).ravel()
        for column, name in enumerate(self._instruments):
            seen = self._seen[name]
            seen.signal = HOLD
            if name in step.missing:
                continue
            seen.signal = rule_step(self._rule.number, seen.state, 0, bars, column * width, self._parameters)
            middle = 0.5 * (float(step.rows[column, BID_CLOSE]) + float(step.rows[column, ASK_CLOSE]))
            seen.returns, seen.middle, seen.variance = take_return(
                seen.returns, seen.middle, seen.variance, middle, float(self._sizing[DECAY])
            )

    async def prepare(self, step: Step) -> None:
        """Nobody has to be asked."""

    async def decide(self, step: Step, now_ns: int, portfolio: Portfolio) -> Sequence[Decision]:
        """Want what the rule says, in the size that the account's sizing gives."""
        return [self._decision(name, step, now_ns, portfolio) for name in self._instruments if name not in step.missing]

    def _decision(self, name: str, step: Step, now_ns: int, portfolio: Portfolio) -> Decision:
        seen = self._seen[name]
        instrument = portfolio.instruments[name]
        current = portfolio.positions.get(name, Decimal(0))
        decision_id = f"{self._strategy}:{name}:{step.time_ns}"
        rate = portfolio.rates.get(instrument.base, 0.0)
        fraction = float(current) * rate / portfolio.equity if portfolio.equity > 0 else 0.0
        quote = portfolio.quotes.get(name)
        if math.isnan(seen.signal.weight) or quote is None:
            reason = "the rule says nothing" if quote is not None else "no price"
            return Decision(name, decision_id, current, fraction, current, reason, None, "")
        held = int(current / instrument.unit_step)
        wanted = wanted_units(
            self._sizing,
            seen.signal.weight,
            volatility_of(seen.returns, seen.variance),
            portfolio.equity,
            rate if self._sizing[KIND] != FIXED else 0.0,
            held,
            float(self._sizing[UNITS]) / float(instrument.unit_step),
            float(instrument.unit_step),
        )
        reason = f"{self._rule.name} wants {seen.signal.weight:g}"
        exits_only = "reducing" if portfolio.reducing else portfolio.exits_only.get(name)
        if exits_only and wanted != held and not (held * wanted >= 0 and abs(wanted) < abs(held)):
            wanted, reason = held if held * wanted > 0 else 0, f"{reason}; exits only: {exits_only}"
        bid, ask = _ticks(quote.bid, instrument), _ticks(quote.ask, instrument)
        plan = plan_order(seen.signal, wanted, held, bid, ask, self._terms_of(instrument))
        order = self._order(plan, decision_id, instrument, now_ns) if plan.units else None
        target = (held + plan.units) * instrument.unit_step
        fraction = float(target) * rate / portfolio.equity if portfolio.equity > 0 else 0.0
        return Decision(name, decision_id, current, fraction, target, reason, order, "")

    def _order(self, plan: Plan, decision_id: str, instrument: Instrument, now_ns: int) -> OrderRequest:
        tick = instrument.tick
        limited = plan.limit > 0
        return OrderRequest(
            client_order_id=client_order_id(decision_id),
            instrument=instrument.name,
            units=plan.units * instrument.unit_step,
            order_type=OrderType.LIMIT if limited else OrderType.MARKET,
            time_in_force=TimeInForce.GTD if limited else TimeInForce.FOK,
            price=plan.limit * tick if limited else None,
            # It waits for the bar that has begun, and is gone before the first quote of the next.
            good_till_ns=(now_ns // self._length_ns + 1) * self._length_ns if limited else None,
            stop_loss_price=plan.stop * tick if plan.stop else None,
            take_profit_price=plan.target * tick if plan.target else None,
            trailing_stop_distance=plan.trailing * tick if plan.trailing else None,
            reduce_only=not plan.opens,
            decision_id=decision_id,
            strategy=self._strategy,
        )

    def _terms_of(self, instrument: Instrument) -> Terms:
        terms = self._terms.get(instrument.name)
        if terms is None:
            shortest, longest = trailing_limits(instrument)
            terms = self._terms[instrument.name] = Terms(
                float(instrument.tick),
                int(shortest / instrument.tick),
                int(longest / instrument.tick),
                int(instrument.minimum_units / instrument.unit_step),
                int(instrument.maximum_order_units / instrument.unit_step),
            )
        return terms

    def volatilities(self) -> Mapping[str, float]:
        """Volatility of a one-bar log return by instrument; NaN before it counts."""
        return {name: volatility_of(seen.returns, seen.variance) for name, seen in self._seen.items()}

    def settle(self, step: Step, now_ns: int) -> None:
        """Nothing is kept beside the journal: the state is a fold of its steps."""

    def finish(self) -> None:
        """Nothing is kept beside the journal."""


def _ticks(price: float, instrument: Instrument) -> int:
    return int(instrument.round_price(price) / instrument.tick)
