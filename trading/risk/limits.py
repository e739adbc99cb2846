"""The first pre-trade limits. One pure function; every refusal is a reason from one list."""

from collections.abc import Mapping

import msgspec

from core.domain import Quote, RejectReason
from trading.risk.exposure import currency_exposures, gross_exposure
from trading.risk.parameters import RiskParameters, RiskState

__all__ = ["RiskParameters", "RiskState", "RiskView", "check_order", "reduces"]


class RiskView(msgspec.Struct):
    """What a check looks at. Prices and equity are floats: limits are no ledger.

    ``rates`` holds the account currency's worth of one unit of each currency.
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


def reduces(held: float, units: float) -> bool:
    """Whether an order only lowers a position: it neither opens nor crosses to the other side."""
    return held * units < 0 and abs(units) <= abs(held)


def check_order(
    instrument: str, units: float, pip: float, quote: Quote | None, view: RiskView, limits: RiskParameters
) -> tuple[RejectReason, str] | None:
    """Return why an order must not go out, in words too, or None where it may.

    An order that only lowers a position passes the limits on exposure, loss, spread and stale prices: exits stay
    possible when something is wrong.
    """
    if view.state is RiskState.HALTED:
        return RejectReason.STATE_HALTED, "trading is halted"
    if view.known_order:
        return RejectReason.DUPLICATE_INTENT, "this decision was sent before"
    if instrument in view.in_flight:
        return RejectReason.DUPLICATE_INTENT, f"an order in {instrument} is still in flight"
    if abs(units) > limits.maximum_order_units:
        return RejectReason.SIZE_LIMIT, f"{abs(units):g} units, limit {limits.maximum_order_units:g}"
    if view.orders_last_minute >= limits.maximum_orders_per_minute:
        return RejectReason.ORDER_RATE, f"{view.orders_last_minute} orders in the last minute"
    held = view.positions.get(instrument, 0.0)
    if reduces(held, units):
        return None
    if view.state is RiskState.REDUCING:
        return RejectReason.STATE_REDUCING, "only orders that lower a position may go out"
    return (
        _check_market(pip, quote, view, limits)
        or _check_loss(view, limits)
        or _check_exposure(instrument, units, view, limits)
    )


def _check_market(
    pip: float, quote: Quote | None, view: RiskView, limits: RiskParameters
) -> tuple[RejectReason, str] | None:
    if quote is None or not quote.tradeable:
        return RejectReason.STALE_PRICE, "no tradeable price"
    age = (view.now_ns - quote.time_ns) / 1e9
    if age > limits.stale_price_seconds:
        return RejectReason.STALE_PRICE, f"price is {age:.1f} s old, limit {limits.stale_price_seconds:g} s"
    spread = (quote.ask - quote.bid) / pip
    if not 0 <= spread <= limits.maximum_spread_pips:
        return RejectReason.SPREAD, f"spread {spread:.1f} pips, limit {limits.maximum_spread_pips:g}"
    return None


def _check_loss(view: RiskView, limits: RiskParameters) -> tuple[RejectReason, str] | None:
    if not view.equity > 0:
        return RejectReason.DRAWDOWN, "no equity"
    day_loss = 1.0 - view.equity / view.day_start_equity
    if day_loss >= limits.maximum_daily_loss:
        return RejectReason.DAILY_LOSS, f"{day_loss:.2%} lost today, limit {limits.maximum_daily_loss:.2%}"
    drawdown = 1.0 - view.equity / view.peak_equity
    if drawdown >= limits.maximum_drawdown:
        return RejectReason.DRAWDOWN, f"{drawdown:.2%} below the peak, limit {limits.maximum_drawdown:.2%}"
    return None


def _check_exposure(
    instrument: str, units: float, view: RiskView, limits: RiskParameters
) -> tuple[RejectReason, str] | None:
    after = {**view.positions, instrument: view.positions.get(instrument, 0.0) + units}
    try:
        gross = gross_exposure(after, view.rates) / view.equity
        currencies = currency_exposures(after, view.rates)
    except KeyError as error:
        return RejectReason.STALE_PRICE, f"no price to convert {error.args[0]}"
    if gross > limits.maximum_gross_leverage:
        return RejectReason.GROSS_EXPOSURE, f"{gross:.2f} × equity, limit {limits.maximum_gross_leverage:g}"
    # The account currency is the numeraire: exposure to it is the other side of all the others.
    for currency, amount in sorted(currencies.items()):
        leverage = abs(amount) / view.equity
        if leverage > limits.maximum_currency_leverage:
            return (
                RejectReason.CURRENCY_EXPOSURE,
                f"{currency} {leverage:.2f} × equity, limit {limits.maximum_currency_leverage:g}",
            )
    return None
