"""Make the plan of an order: which algorithm, which slices, which limits. Pure: nothing is sent here."""

import math
from decimal import Decimal

from core.clock import NANOSECONDS
from core.domain import Instrument, OrderRequest, OrderType, Quote
from core.errors import BadInputError
from core.logging import get_logger
from trading.execution import schedules
from trading.execution.almgren_chriss import Impact, expected_cost, trajectory
from trading.execution.parameters import ChildStyle, ExecutionParameters
from trading.execution.plan import Algorithm, ExecutionPlan
from trading.execution.volume_profile import VolumeProfile

_log = get_logger("trading")
_MILLION = 1e6
_MINUTE = 60.0


def make_plan(
    order: OrderRequest,
    instrument: Instrument,
    quote: Quote,
    volatility: float,
    now_ns: int,
    parameters: ExecutionParameters,
    profile: VolumeProfile | None,
    step_seconds: float,
) -> ExecutionPlan | None:
    """Return the plan of an order, or None where it should be sent whole: small, not a market order, one part only.

    Where an algorithm lacks what it needs now (no volatility; no tick expected) the plan is a TWAP and says so.

    Args:
        order: what the decision asks for.
        instrument: its steps and pip.
        quote: the standing quote.
        volatility: standard deviation of the log return of one decision step.
        now_ns: when the plan starts.
        parameters: how.
        profile: expected ticks; vwap needs it.
        step_seconds: length of a decision step.
    """
    if parameters.algorithm is Algorithm.IMMEDIATE or order.order_type is not OrderType.MARKET:
        return None
    if abs(order.units) < Decimal(str(parameters.minimum_order_units)):
        return None
    end_ns = now_ns + round(parameters.duration_seconds * NANOSECONDS)
    times = schedules.slice_times(now_ns, end_ns, parameters.slices)
    algorithm, cost = parameters.algorithm, None
    try:
        if algorithm is Algorithm.VWAP:
            if profile is None:
                raise BadInputError("vwap needs a volume profile: name its file in execution.volume_profile")
            shares = schedules.vwap(profile, order.instrument, times, end_ns)
        elif algorithm is Algorithm.IMPLEMENTATION_SHORTFALL:
            impact = _impact(instrument, quote, volatility, parameters, step_seconds)
            shares = schedules.implementation_shortfall(
                impact, parameters.risk_aversion, parameters.duration_seconds, parameters.slices
            )
            cost = _expected_pips(impact, order.units, instrument, parameters)
        else:
            shares = schedules.twap(parameters.slices)
    except BadInputError as error:
        _log.warning("plan falls back to twap", order=order.client_order_id, words=error.message)
        algorithm, shares = Algorithm.TWAP, schedules.twap(parameters.slices)
    minimum = max(Decimal(str(parameters.minimum_child_units)), instrument.minimum_units)
    slices = schedules.whole_units(order.units, shares, times, instrument.unit_step, minimum)
    if len(slices) == 1 and parameters.child_style is ChildStyle.MARKETABLE:
        return None
    return ExecutionPlan(
        parent=order,
        algorithm=algorithm,
        start_ns=now_ns,
        end_ns=end_ns,
        slices=slices,
        price_limit=_price_limit(order, instrument, quote, parameters),
        maximum_participation=parameters.maximum_participation or None,
        arrival_mid=(_decimal(quote.bid) + _decimal(quote.ask)) / 2,
        expected_cost_pips=cost,
    )


def _impact(
    instrument: Instrument, quote: Quote, volatility: float, parameters: ExecutionParameters, step_seconds: float
) -> Impact:
    if not (volatility > 0 and math.isfinite(volatility)):
        raise BadInputError(f"implementation_shortfall needs a volatility of {instrument.name}, it is {volatility}")
    pip = float(instrument.pip)
    return Impact(
        volatility=volatility * (quote.bid + quote.ask) / 2.0 / math.sqrt(step_seconds),
        temporary=parameters.temporary_impact_pips * pip * _MINUTE / _MILLION,
        permanent=parameters.permanent_impact_pips * pip / _MILLION,
        fixed=(quote.ask - quote.bid) / 2.0,
    )


def _expected_pips(impact: Impact, units: Decimal, instrument: Instrument, parameters: ExecutionParameters) -> float:
    duration = parameters.duration_seconds
    holdings = trajectory(impact, parameters.risk_aversion, duration, parameters.slices)
    cost = expected_cost(impact, float(units), holdings, duration)
    return round(cost / abs(float(units)) / float(instrument.pip), 4)


def _price_limit(
    order: OrderRequest, instrument: Instrument, quote: Quote, parameters: ExecutionParameters
) -> Decimal | None:
    """The tighter of the plan's own limit and a bound the decision set."""
    limit = order.price_bound
    if parameters.price_limit_pips > 0:
        room = Decimal(str(parameters.price_limit_pips)) * instrument.pip
        if order.units > 0:
            own = instrument.round_price(_decimal(quote.ask) + room)
            return own if limit is None else min(own, limit)
        own = instrument.round_price(_decimal(quote.bid) - room)
        return own if limit is None else max(own, limit)
    return limit


def _decimal(price: float) -> Decimal:
    return Decimal(str(price))
