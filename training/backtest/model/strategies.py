"""The strategies of a model backtest: the model's own decisions, and the benchmarks beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from core.domain import Instrument, OrderRequest, Prediction
from trading.risk.exposure import conversion_rates
from trading.risk.parameters import RiskParameters
from trading.strategy.decide import Costs as DecisionCosts
from trading.strategy.decide import Decision, Inputs, PortfolioLimits, decide, fit_portfolio
from trading.strategy.sizing import SizingParameters, rebalance
from training.backtest.market import Market
from training.backtest.model.drive import View
from training.backtest.model.predictions import Forecasts
from training.evaluation.strategy import momentum_targets
from training.labels import VOLATILITY_DECAY, VOLATILITY_STEPS
from training.labels.fixed_horizon import fixed_horizon
from training.labels.make import MOMENTUM_STEPS

_BID_CLOSE, _ASK_CLOSE = 3, 7


@dataclass(frozen=True)
class Rules:
    """What sizes every position: as the trader reads it from ``params.yaml``."""

    sizing: SizingParameters
    costs: DecisionCosts
    limits: PortfolioLimits

    @classmethod
    def of(cls, sizing: SizingParameters, risk: RiskParameters, slippage_pips: float, commission: float) -> "Rules":
        """Take from the trader's sections what a decision depends on."""
        limits = PortfolioLimits(risk.maximum_order_units, risk.maximum_gross_leverage, risk.maximum_currency_leverage)
        return cls(sizing, DecisionCosts(slippage_pips, commission), limits)


class ModelStrategy:
    """Decides with ``trading.strategy.decide`` itself, step by step, as the trader does.

    Args:
        name: of the strategy, part of each decision's id.
        market: what is traded.
        forecasts: probabilities and volatilities on the market's rows.
        rules: sizing, costs and limits.
        version, digest: of the model.
    """

    def __init__(
        self, name: str, market: Market, forecasts: Forecasts, rules: Rules, version: str, digest: str
    ) -> None:
        self.name = name
        self.asked = np.asarray(market.present.any(axis=1), np.bool_)
        self._instruments: Mapping[str, Instrument] = {item.name: item for item in market.instruments}
        self._names = market.names
        self._currency = market.currency
        self._probabilities = forecasts.probabilities
        self._volatilities = forecasts.volatilities
        self._rules = rules
        self._model = (version, digest)

    def decide(self, view: View) -> Sequence[OrderRequest]:
        """Return the orders of all instruments, sized together."""
        return [decision.order for decision in self.decisions(view) if decision.order is not None]

    def decisions(self, view: View) -> list[Decision]:
        """Return what is wanted with each instrument, and why."""
        version, digest = self._model
        predictions = {
            name: Prediction("", name, view.time_ns, short, flat, long, self.name, version, digest)
            for name, (short, flat, long) in zip(self._names, self._probabilities[view.row].tolist(), strict=True)
            if short == short  # NaN: no bar, so nobody was asked
        }
        inputs = Inputs(
            time_ns=view.time_ns,
            equity=view.equity,
            positions=view.positions,
            quotes=view.quotes,
            rates=conversion_rates(view.quotes, self._currency),
            predictions=predictions,
            volatilities=dict(zip(self._names, self._volatilities[view.row].tolist(), strict=True)),
            exits_only={},
            reducing=False,
        )
        rules = self._rules
        return decide(self.name, self._names, self._instruments, inputs, rules.sizing, rules.costs, rules.limits)


class BuyAndHold:
    """Buys each instrument once, an equal share of the first equity each, and holds it: a benchmark."""

    def __init__(self, market: Market) -> None:
        self.name = "buy and hold"
        self.asked = np.zeros(len(market), np.bool_)
        self.asked[np.argmax(market.present, axis=0)] = True  # the first bar of each
        if len(market) > 1:
            self.asked[:-1] |= self.asked[1:]  # and the row before it, whose decisions trade there
        self._instruments = market.instruments
        self._currency = market.currency
        self._bought: set[str] = set()

    def decide(self, view: View) -> Sequence[OrderRequest]:
        """Buy what has a price and was not bought."""
        rates = conversion_rates(view.quotes, self._currency)
        orders: list[OrderRequest] = []
        for item in self._instruments:
            if item.name in self._bought or item.name not in view.quotes or rates.get(item.base, 0.0) <= 0:
                continue
            self._bought.add(item.name)
            units = item.round_units(view.equity / len(self._instruments) / rates[item.base])
            if units >= item.minimum_units:
                orders.append(OrderRequest(f"{self.name}:{item.name}", item.name, units))
        return orders


class Momentum:
    """Follows the trend of the last 20 bars at full size, within the trader's limits: the baseline of evaluation."""

    def __init__(self, market: Market, rules: Rules) -> None:
        self.name = "momentum"
        self._market = market
        self._rules = rules
        self._targets = _trend(market, rules.sizing)
        self.asked = np.asarray(~np.isnan(self._targets).all(axis=1), np.bool_)

    def decide(self, view: View) -> Sequence[OrderRequest]:
        """Return the orders that lead to the trend's targets."""
        market, rules = self._market, self._rules
        rates = conversion_rates(view.quotes, market.currency)
        targets = self._targets[view.row].tolist()
        known = [
            (item, target)
            for item, target in zip(market.instruments, targets, strict=True)
            if item.name in view.quotes and rates.get(item.base, 0.0) > 0
        ]
        held = {
            item.name: float(view.positions.get(item.name, Decimal(0))) * rates[item.base] / view.equity
            for item, _ in known
            if view.equity > 0
        }
        if not held:
            return []
        wanted = {item.name: held[item.name] if target != target else target for item, target in known}
        fitted, _ = fit_portfolio(wanted, rules.limits)
        orders: list[OrderRequest] = []
        for item, target in known:
            if target != target:
                continue
            now = held[item.name]
            fraction = rebalance(now, fitted[item.name], rules.sizing)
            if fraction == now:
                continue
            current = view.positions.get(item.name, Decimal(0))
            change = item.round_units(fraction * view.equity / rates[item.base]) - current
            most = item.round_units(min(rules.limits.maximum_order_units, float(item.maximum_order_units)))
            change = max(min(change, most), -most)
            if abs(change) >= item.minimum_units:
                orders.append(OrderRequest(f"{self.name}:{item.name}:{view.time_ns}", item.name, change))
        return orders


def _trend(market: Market, sizing: SizingParameters) -> NDArray[np.float64]:
    """Return the fraction of equity wanted in each instrument after each row, float64 [T, N]; NaN: leave it."""
    targets = np.full((len(market), len(market.instruments)), np.nan)
    middle = 0.5 * (market.rows[:, :, _BID_CLOSE] + market.rows[:, :, _ASK_CLOSE])
    for place in range(len(market.instruments)):
        bars = np.flatnonzero(market.present[:, place])
        closes = middle[bars, place]
        if len(bars) < 2:
            continue
        # The kernel labels all bars but the last of its horizon; one more close gives it the last one. It looks back.
        closes = np.append(closes, closes[-1])
        values = fixed_horizon(
            closes, np.zeros(len(closes)), 0.0, 0.0, 1, 1.0, VOLATILITY_DECAY, VOLATILITY_STEPS, MOMENTUM_STEPS
        )[3]
        known = np.isfinite(values[:, 6]) & np.isfinite(values[:, 5])
        chosen = momentum_targets(values[known, 6], values[known, 5], sizing)
        targets[bars[known], place] = chosen
    return targets
