"""What a version would have earned had it traded every decision: the trader's own sizing on a position of its own.

``trading.strategy.decide.decide`` is called with what it was called with live (prices, cost, volatility, rates, equity,
what might only be lowered), but for the position, which is the version's own from the first compared decision on. Both
versions begin with what the account really held. A version that brings strategy parameters along is sized by them.
Money is marked at the middle of the standing quotes at the decisions:

    return of a step = (units * (mid' - mid) - |change of units| * mid * cost / 2) * quote_rate / equity,

with ``cost`` the round trip's. Not in it: financing (of the same order in both), stops and targets that a broker
executes between two decisions, fills away from the quote, and orders that pre-trade risk blocked.

A step at which no version beside the traded one was heard is not compared: it moves no position and books no return.
Where one of both failed for an instrument, the other one's answer counts for both, as it does in the service.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from core.domain import Instrument, Prediction, Quote, StrategyShare, default_instrument
from trading.strategy.decide import Costs, Inputs, PortfolioLimits, decide
from trading.strategy.handover import sizing_of
from trading.strategy.sizing import SizingParameters
from training.online.decisions import DecisionStep, InstrumentStep

Array = NDArray[np.float64]
_NO_COSTS = Costs(slippage_pips=0.0, commission_per_million=0.0)  # the noted cost holds all of it


def is_compared(step: DecisionStep) -> bool:
    """Whether sizing's view of the step stands in the ledger."""
    return step.equity > 0 and any(seen.scored for seen in step.instruments.values())


class CounterfactualPath:
    """One version's positions and money over compared steps.

    Attributes:
        returns: net return of each compared step that is over, fractions of the equity at its decision.
        costs: the part of it that trading took, as a positive fraction.
        units: positions now.
    """

    def __init__(self, strategy: str, digests: Sequence[str], sizing: SizingParameters, limits: PortfolioLimits):
        """``digests``: whose answer counts, the first one that answered."""
        self._strategy = strategy
        self._digests = tuple(digests)
        self._sizing = sizing
        self._limits = limits
        self._instruments: dict[str, Instrument] = {}
        self._begun = False
        self.units: dict[str, Decimal] = {}
        self.returns: list[float] = []
        self.costs: list[float] = []

    def decide(self, step: DecisionStep) -> float:
        """Trade a compared step; return what that cost, as a fraction of equity."""
        names = sorted(step.instruments)
        if not self._begun:
            self._begun = True
            self.units = {name: step.instruments[name].current_units for name in names}
        for name in names:
            if name not in self._instruments:
                self._instruments[name] = default_instrument(name)
        decisions = decide(
            self._strategy, names, self._instruments, self._inputs(step, names), self._sizing, _NO_COSTS, self._limits
        )
        paid = 0.0
        for decision in decisions:
            seen = step.instruments[decision.instrument]
            before = self.units.get(decision.instrument, Decimal(0))
            change = abs(float(decision.target_units - before))
            if change:
                paid += change * seen.mid * seen.cost / 2.0 * seen.quote_rate / step.equity
            self.units[decision.instrument] = decision.target_units
        return paid

    def mark(self, step: DecisionStep, end: Mapping[str, InstrumentStep], paid: float) -> None:
        """Book the return of a compared step up to the prices of the next decision, whoever made that."""
        earned = 0.0
        for name, seen in step.instruments.items():
            later = end.get(name)
            units = float(self.units.get(name, Decimal(0)))
            if units and later is not None and later.mid > 0 and seen.mid > 0:
                rate = later.quote_rate if later.scored and later.quote_rate > 0 else seen.quote_rate
                earned += units * (later.mid - seen.mid) * rate / step.equity
        self.returns.append(earned - paid)
        self.costs.append(paid)

    def _inputs(self, step: DecisionStep, names: Sequence[str]) -> Inputs:
        quotes: dict[str, Quote] = {}
        rates: dict[str, float] = {}
        predictions: dict[str, Prediction] = {}
        sizings: dict[str, SizingParameters] = {}
        for name in names:
            seen = step.instruments[name]
            if not (seen.scored and seen.mid > 0):
                continue
            half = seen.mid * seen.cost / 2.0
            quotes[name] = Quote(name, step.time_ns, step.time_ns, seen.mid - half, seen.mid + half)
            base, _, quoted = name.partition("_")
            rates |= {base: seen.base_rate, quoted: seen.quote_rate}
            answered = next((digest for digest in self._digests if digest in seen.answers), None)
            if answered is not None:
                answer = seen.answers[answered]
                short, flat, long = answer.probabilities
                if answer.strategy:
                    sizings[name] = sizing_of(self._sizing, (StrategyShare(1.0, answer.strategy),))
                predictions[name] = Prediction("", name, step.time_ns, short, flat, long, "", "", answered)
        return Inputs(
            time_ns=step.time_ns,
            equity=step.equity,
            positions=self.units,
            quotes=quotes,
            rates=rates,
            predictions=predictions,
            volatilities={name: step.instruments[name].volatility for name in names},
            exits_only={name: "as live" for name in names if step.instruments[name].exits_only},
            reducing=False,
            sizings=sizings,
        )
