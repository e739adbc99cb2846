"""Pre-trade limits for every order and amendment. One pure function; every refusal is a reason from one list."""

import math
from collections.abc import Callable, Mapping

import msgspec

from core.domain import Quote, RejectReason
from trading.risk import worst_case
from trading.risk.parameters import BreachAction, RiskParameters, RiskState
from trading.risk.worst_case import PendingOrder

__all__ = [
    "BreachAction",
    "OrderKind",
    "PendingOrder",
    "Refusal",
    "RiskParameters",
    "RiskState",
    "RiskView",
    "check_order",
    "reduces",
]

Refusal = tuple[RejectReason, str]


class OrderKind(msgspec.Struct, frozen=True):
    """What an order may do besides its size.

    Attributes:
        rests: it may wait at the broker (GTC, GTD) and so fill when the position is no longer what it is now.
        reduce_only: the broker lets it lower a position only.
        protective: a stop or target of an open trade.
        tightens: it moves a stop closer to the market, and can do nothing else.
    """

    rests: bool = False
    reduce_only: bool = False
    protective: bool = False
    tightens: bool = False


_IMMEDIATE = OrderKind()


class RiskView(msgspec.Struct):
    """What a check looks at. Prices and equity are floats: limits are no ledger.

    ``rates`` holds the account currency's worth of one unit of each currency. ``pending`` are the unfilled parts of our
    working orders, without the order that an amendment replaces: so an amendment is checked as the difference.
    ``degraded`` says what the whole account has to do without, or nothing.
    ``value_at_risk`` gives the loss of a portfolio (signed units by instrument) in account currency; None: not limited.
    """

    state: RiskState
    now_ns: int
    equity: float
    day_start_equity: float
    peak_equity: float
    positions: Mapping[str, float]  # signed units by instrument
    rates: Mapping[str, float]
    orders_last_minute: int
    in_flight: frozenset[str]  # instruments with an order whose outcome is not known yet
    known_order: bool  # whether the client order id was used before
    pending: tuple[PendingOrder, ...] = ()
    margin_rates: Mapping[str, float] = {}  # without one the whole notional counts as margin
    degraded: str = ""
    hours: Refusal | None = None  # why no new risk is taken at this time of day
    value_at_risk: Callable[[Mapping[str, float]], float] | None = None


def reduces(held: float, units: float) -> bool:
    """Whether an order only lowers a position: it neither opens nor crosses to the other side."""
    return held * units < 0 and abs(units) <= abs(held)


def is_exit(held: float, units: float, kind: OrderKind) -> bool:
    """Whether an order can only lower risk, whenever it fills.

    One that rests counts only if the broker holds it to that: the position may be closed before it fills.
    """
    if kind.protective:
        return True
    if kind.reduce_only and held * units < 0:
        return True
    return not kind.rests and reduces(held, units)


def check_order(
    instrument: str,
    units: float,
    pip: float,
    quote: Quote | None,
    view: RiskView,
    limits: RiskParameters,
    kind: OrderKind = _IMMEDIATE,
) -> Refusal | None:
    """Return why an order must not go out, in words with value and limit, or None where it may.

    An order that only lowers a position passes all limits but HALTED and a repeated intent: exits stay possible when
    something is wrong. A stop may come closer even while HALTED: it lowers what can be lost, and trades nothing now.
    """
    if view.state is RiskState.HALTED and not kind.tightens:
        return RejectReason.STATE_HALTED, "trading is halted"
    if view.known_order:
        return RejectReason.DUPLICATE_INTENT, "this decision was sent before"
    if instrument in view.in_flight and not kind.protective:
        return RejectReason.DUPLICATE_INTENT, f"an order in {instrument} is still in flight"
    held = view.positions.get(instrument, 0.0)
    if is_exit(held, units, kind):
        return None
    if abs(units) > limits.maximum_order_units:
        return RejectReason.SIZE_LIMIT, f"{abs(units):g} units, limit {limits.maximum_order_units:g}"
    if view.orders_last_minute >= limits.maximum_orders_per_minute:
        words = f"{view.orders_last_minute} orders in the last minute, limit {limits.maximum_orders_per_minute}"
        return RejectReason.ORDER_RATE, words
    if view.state is RiskState.REDUCING:
        return RejectReason.STATE_REDUCING, "only orders that lower a position may go out"
    if view.degraded:
        return RejectReason.DEGRADED, f"only orders that lower a position may go out: {view.degraded}"
    return (
        view.hours
        or _check_market(pip, quote, view, limits)
        or _check_loss(view, limits)
        or _check_exposure(instrument, units, view, limits, kind)
    )


def _check_market(pip: float, quote: Quote | None, view: RiskView, limits: RiskParameters) -> Refusal | None:
    if quote is None or not quote.tradeable:
        return RejectReason.STALE_PRICE, "no tradeable price"
    age = (view.now_ns - quote.time_ns) / 1e9
    if age > limits.stale_price_seconds:
        return RejectReason.STALE_PRICE, f"price is {age:.1f} s old, limit {limits.stale_price_seconds:g} s"
    spread = (quote.ask - quote.bid) / pip
    if not 0 <= spread <= limits.maximum_spread_pips:
        return RejectReason.SPREAD, f"spread {spread:.1f} pips, limit {limits.maximum_spread_pips:g}"
    return None


def _check_loss(view: RiskView, limits: RiskParameters) -> Refusal | None:
    if not view.equity > 0:
        return RejectReason.DRAWDOWN, f"no equity: {view.equity:.2f}"
    day_loss = 1.0 - view.equity / view.day_start_equity
    if day_loss >= limits.maximum_daily_loss:
        return RejectReason.DAILY_LOSS, f"{day_loss:.2%} lost today, limit {limits.maximum_daily_loss:.2%}"
    drawdown = 1.0 - view.equity / view.peak_equity
    if drawdown >= limits.maximum_drawdown:
        return RejectReason.DRAWDOWN, f"{drawdown:.2%} below the peak, limit {limits.maximum_drawdown:.2%}"
    return None


def _check_exposure(
    instrument: str, units: float, view: RiskView, limits: RiskParameters, kind: OrderKind
) -> Refusal | None:
    """Check the worst that the account can come to with this order, at the standing prices."""
    positions, pending = view.positions, view.pending
    if kind.rests:
        pending = (*pending, PendingOrder(instrument, units))
    else:
        positions = {**positions, instrument: positions.get(instrument, 0.0) + units}
    spans = worst_case.spans(positions, pending)
    try:
        exposure = worst_case.exposure(spans, view.rates, view.margin_rates)
    except KeyError as error:
        return RejectReason.STALE_PRICE, f"no price to convert {error.args[0]}"
    gross, margin = exposure.gross / view.equity, exposure.margin / view.equity
    single = exposure.single[instrument] / view.equity
    if gross > limits.maximum_gross_leverage:
        return RejectReason.GROSS_EXPOSURE, f"{gross:.2f} × equity, limit {limits.maximum_gross_leverage:g}"
    # The account currency is the numeraire: exposure to it is the other side of all the others.
    for currency, widest in exposure.currencies.items():
        leverage = widest / view.equity
        if leverage > limits.maximum_currency_leverage:
            return (
                RejectReason.CURRENCY_EXPOSURE,
                f"{currency} {leverage:.2f} × equity, limit {limits.maximum_currency_leverage:g}",
            )
    if single > limits.maximum_instrument_leverage:
        return (
            RejectReason.LEVERAGE,
            f"{instrument} {single:.2f} × equity, limit {limits.maximum_instrument_leverage:g}",
        )
    if margin > limits.maximum_margin_use:
        return RejectReason.MARGIN, f"margin takes {margin:.2%} of equity, limit {limits.maximum_margin_use:.2%}"
    return _check_value_at_risk(positions, pending, view, limits)


def _check_value_at_risk(
    positions: Mapping[str, float], pending: tuple[PendingOrder, ...], view: RiskView, limits: RiskParameters
) -> Refusal | None:
    """Refuse what leaves more at risk than the limit, unless it lowers what is at risk.

    A resting order adds its own value at risk: the measure is subadditive, so the sum bounds every combination of
    fills.
    """
    risk = view.value_at_risk
    if limits.maximum_value_at_risk is None or risk is None:
        return None
    try:
        loss = (risk(positions) + sum(risk({order.instrument: order.units}) for order in pending)) / view.equity
        before = risk(view.positions) + sum(risk({order.instrument: order.units}) for order in view.pending)
    except KeyError as error:
        return RejectReason.VALUE_AT_RISK, f"no returns of {error.args[0]}, limit {limits.maximum_value_at_risk:.2%}"
    if math.isnan(loss):
        return RejectReason.VALUE_AT_RISK, f"not known after so few steps, limit {limits.maximum_value_at_risk:.2%}"
    if loss <= limits.maximum_value_at_risk or loss < before / view.equity:
        return None
    return (
        RejectReason.VALUE_AT_RISK,
        f"{loss:.2%} of equity at {limits.value_at_risk_confidence:.1%} in one step, "
        f"limit {limits.maximum_value_at_risk:.2%}",
    )
