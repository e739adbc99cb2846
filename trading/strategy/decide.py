"""One step's targets: from the predictions of all instruments to the orders that lead there.

Pure functions of what is known at the decision. Sizes come from ``sizing``; here they are fitted into the portfolio
limits together (so that no instrument is starved because it comes late in the alphabet) and turned into whole units.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from core.domain import Instrument, OrderRequest, Prediction, Quote
from trading.oms.identity import client_order_id
from trading.risk.exposure import currency_exposures, gross_exposure
from trading.strategy.sizing import SizingParameters, held_fraction, rebalance, target_fraction

# Targets fill the portfolio limits only up to this share: prices move between the decision and the fill.
HEADROOM = 0.98


class Costs(msgspec.Struct, frozen=True):
    """Costs beyond the quoted spread, per side."""

    slippage_pips: float
    commission_per_million: float


class PortfolioLimits(msgspec.Struct, frozen=True):
    """What the targets of one step must fit into; leverages are multiples of equity."""

    maximum_order_units: float
    maximum_gross_leverage: float
    maximum_currency_leverage: float


class Inputs(msgspec.Struct, frozen=True):
    """All a step's decisions depend on.

    ``exits_only`` names why an instrument may not get more risk (stale price, no prediction); ``rates`` is the account
    currency's worth of one unit of each currency; ``volatilities`` are those of a one-step log return; ``sizings`` are
    those of ``handover``.
    """

    time_ns: int
    equity: float
    positions: Mapping[str, Decimal]
    quotes: Mapping[str, Quote]
    rates: Mapping[str, float]
    predictions: Mapping[str, Prediction]
    volatilities: Mapping[str, float]
    exits_only: Mapping[str, str]
    reducing: bool
    sizings: Mapping[str, SizingParameters] = {}  # where versions bring parameters of their own


class Decision(msgspec.Struct, frozen=True):
    """What is wanted with one instrument, and why. ``order`` is None where nothing is to be done."""

    instrument: str
    decision_id: str
    current_units: Decimal
    target_fraction: float
    target_units: Decimal
    reason: str
    order: OrderRequest | None
    model_digest: str


def round_trip_cost(quote: Quote, pip: float, costs: Costs) -> float:
    """Return spread, slippage and commission of both sides as a fraction of the middle price."""
    middle = (quote.bid + quote.ask) / 2.0
    price_cost = (quote.ask - quote.bid) + 2.0 * costs.slippage_pips * pip
    return price_cost / middle + 2.0 * costs.commission_per_million / 1e6


def fit_portfolio(fractions: Mapping[str, float], limits: PortfolioLimits) -> tuple[dict[str, float], float]:
    """Scale all fractions by one factor so that gross and currency leverage hold; return them and the factor."""
    # A fraction of equity is a position of that many "units" of a base currency worth 1 each.
    names = {name for pair in fractions for name in pair.split("_")}
    ones = dict.fromkeys(names, 1.0)
    gross = gross_exposure(fractions, ones)
    widest = max((abs(amount) for amount in currency_exposures(fractions, ones).values()), default=0.0)
    factor = 1.0
    if gross > 0:
        factor = min(factor, HEADROOM * limits.maximum_gross_leverage / gross)
    if widest > 0:
        factor = min(factor, HEADROOM * limits.maximum_currency_leverage / widest)
    return {name: fraction * factor for name, fraction in fractions.items()}, factor


def decide(
    strategy: str,
    names: Sequence[str],
    instruments: Mapping[str, Instrument],
    inputs: Inputs,
    sizing: SizingParameters,
    costs: Costs,
    limits: PortfolioLimits,
) -> list[Decision]:
    """Return one decision per instrument, in the order of ``names``."""
    held: dict[str, float] = {}
    wanted: dict[str, float] = {}
    reasons: dict[str, str] = {}
    holds: set[str] = set()
    for name in names:
        rate = inputs.rates.get(name.partition("_")[0], 0.0)
        units = inputs.positions.get(name, Decimal(0))
        held[name] = float(units) * rate / inputs.equity if inputs.equity > 0 else 0.0
        own = inputs.sizings.get(name, sizing)
        target, reasons[name] = _raw_target(name, held[name], rate, instruments, inputs, own, costs)
        if target is None:
            holds.add(name)
        wanted[name] = held[name] if target is None else target
    fitted, factor = fit_portfolio(wanted, limits)
    decisions: list[Decision] = []
    for name in names:
        target = held[name] if name in holds else fitted[name]
        reason = reasons[name]
        if factor < 1.0 and target and name not in holds:
            reason += f"; scaled by {factor:.3f} to fit the portfolio limits"
        own = inputs.sizings.get(name, sizing)
        decisions.append(_decision(strategy, name, held[name], target, reason, instruments[name], inputs, own, limits))
    return decisions


def _raw_target(
    name: str,
    held: float,
    rate: float,
    instruments: Mapping[str, Instrument],
    inputs: Inputs,
    sizing: SizingParameters,
    costs: Costs,
) -> tuple[float | None, str]:
    """Return the fraction wanted before portfolio limits (None: leave the position as it is), and why."""
    quote = inputs.quotes.get(name)
    prediction = inputs.predictions.get(name)
    volatility = inputs.volatilities.get(name, float("nan"))
    if prediction is None:
        return None, inputs.exits_only.get(name, "no prediction")
    if quote is None or rate <= 0 or not inputs.equity > 0:
        return None, "no price"
    if not volatility > 0:
        return None, "no volatility"
    cost = round_trip_cost(quote, float(instruments[name].pip), costs)
    forecast = (prediction.probability_short, prediction.probability_long, volatility, cost, sizing)
    sized = target_fraction(*forecast)
    target = held_fraction(held, sized, *forecast)
    reason = "edge" if sized else "edge does not pay the cost"
    if target != sized:
        reason = "edge pays for holding, not for entering"
    only_exits = "reducing" if inputs.reducing else inputs.exits_only.get(name)
    if only_exits and abs(target) > 0 and not _lowers(held, target):
        target = held if held * target > 0 else 0.0
        reason += f"; exits only: {only_exits}"
    return target, reason


def _lowers(held: float, target: float) -> bool:
    return held * target > 0 and abs(target) <= abs(held)


def _decision(
    strategy: str,
    name: str,
    held: float,
    target: float,
    reason: str,
    instrument: Instrument,
    inputs: Inputs,
    sizing: SizingParameters,
    limits: PortfolioLimits,
) -> Decision:
    current = inputs.positions.get(name, Decimal(0))
    decision_id = f"{strategy}:{name}:{inputs.time_ns}"
    prediction = inputs.predictions.get(name)
    digest = prediction.model_digest if prediction else ""
    fraction = rebalance(held, target, sizing)
    if fraction == held:
        words = reason if target == held else f"{reason}; move below the rebalance threshold"
        return Decision(name, decision_id, current, target, current, words, None, digest)
    rate = inputs.rates[name.partition("_")[0]]
    units = instrument.round_units(fraction * inputs.equity / rate)
    change = units - current
    most = instrument.round_units(min(limits.maximum_order_units, float(instrument.maximum_order_units)))
    if abs(change) > most:
        change = most.copy_sign(change)
        reason += f"; order cut to {most} units"
    if abs(change) < instrument.minimum_units:
        return Decision(name, decision_id, current, target, current, f"{reason}; below the smallest size", None, digest)
    after = current + change
    opens = after != 0 and not (current * after > 0 and abs(after) < abs(current))
    order = OrderRequest(
        client_order_id=client_order_id(decision_id),
        instrument=name,
        units=change,
        reduce_only=not opens,
        decision_id=decision_id,
        strategy=strategy,
    )
    if opens:
        order = _protected(order, inputs.quotes[name], inputs.volatilities[name], instrument, sizing)
    return Decision(name, decision_id, current, target, after, reason, order, digest)


def _protected(
    order: OrderRequest, quote: Quote, volatility: float, instrument: Instrument, sizing: SizingParameters
) -> OrderRequest:
    """Return an opening order with its bracket and its worst price.

    Distances are so many volatilities of the holding horizon from the entry, at least one tick. An order that only
    lowers a position has none of it: an exit must be filled at any price.
    """
    side = 1.0 if order.units > 0 else -1.0
    entry = quote.ask if side > 0 else quote.bid
    unit = volatility * sizing.horizon**0.5 * entry
    tick = float(instrument.tick)

    def away(volatilities: float, direction: float) -> Decimal | None:
        if volatilities == 0:
            return None
        price = instrument.round_price(entry + direction * max(volatilities * unit, tick))
        return price if price > 0 else None

    trailing = sizing.trailing_stop_volatilities
    bound = sizing.maximum_slippage_pips
    return msgspec.structs.replace(
        order,
        price_bound=None
        if bound is None
        else instrument.round_price(entry + side * max(bound * float(instrument.pip), tick)),
        stop_loss_price=away(sizing.stop_loss_volatilities, -side),
        take_profit_price=away(sizing.take_profit_volatilities, side),
        trailing_stop_distance=instrument.round_price(max(trailing * unit, tick)) if trailing else None,
    )
