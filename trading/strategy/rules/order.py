"""From a signal to an order: size, limit price, stop and target, in whole units and ticks.

The same compiled functions for the event loop and the backtester. Prices are whole ticks, sizes whole steps of a unit,
so that both sides round the same: sizes towards zero, distances to the nearest tick (half to even) and at least one.
"""

import math
from typing import NamedTuple

from trading.strategy.rules.columns import Signal
from trading.strategy.rules.compilation import Floats, compiled, inlined

FIXED, VOLATILITY = 0, 1
KIND, UNITS, TARGET_VOLATILITY, LEVERAGE, STEPS_PER_YEAR, REBALANCE, DECAY = range(7)  # columns of the sizing
WARM_UP = 30  # squared returns before a volatility counts


class Terms(NamedTuple):
    """Terms of an instrument: the tick as a number, the rest in whole ticks or steps of a unit.

    ``shortest`` is the least distance of a trailing stop.
    """

    tick: float
    shortest: int
    longest: int
    minimum: int
    maximum: int


class Plan(NamedTuple):
    """An order: signed ``units`` in steps (0: none), its limit, stop, target and trailing distance in ticks (0: none).

    ``opens`` is false where it only lowers a position.
    """

    units: int
    limit: int
    stop: int
    target: int
    trailing: int
    opens: bool


@inlined
def take_return(seen: float, before: float, variance: float, middle: float, decay: float) -> tuple[float, float, float]:
    """Take a middle price in; return the number of returns seen, the price, and the variance of a one-bar log return.

    Exponential with weight ``1 - decay`` (RiskMetrics Technical Document, 1996); the plain mean until that weighs more.
    """
    if before > 0.0:
        change = math.log(middle / before)
        seen += 1.0
        variance += max(1.0 - decay, 1.0 / seen) * (change * change - variance)
    return seen, middle, variance


@inlined
def volatility_of(seen: float, variance: float) -> float:
    """Return the volatility of a one-bar log return; NaN before ``WARM_UP`` returns."""
    return math.sqrt(variance) if seen >= WARM_UP else math.nan


@inlined
def wanted_units(
    sizing: Floats, weight: float, volatility: float, equity: float, rate: float, held: int, full: float, step: float
) -> int:
    """Return the position wanted, in steps of a unit, rounded towards zero.

    Args:
        sizing: columns as above. Fixed: ``UNITS`` at full weight. Volatility: as much as has the yearly
            ``TARGET_VOLATILITY`` of equity, at most ``LEVERAGE`` times equity.
        weight: −1 to 1.
        volatility: of one bar's log return.
        equity: account currency.
        rate: account currency's worth of one unit.
        held: the position, in steps; it is kept where the change is less than ``REBALANCE`` of the size wanted.
        full: steps of a position of full weight, for ``FIXED``: ``UNITS`` over the units of one step.
        step: units of one step.
    """
    if sizing[KIND] == FIXED:
        return int(weight * full)
    if weight == 0.0:
        return 0
    if not (volatility > 0.0 and equity > 0.0 and rate > 0.0):
        return held
    share = min(sizing[TARGET_VOLATILITY] / (volatility * math.sqrt(sizing[STEPS_PER_YEAR])), sizing[LEVERAGE])
    wanted = int(weight * share * equity / rate / step)
    if held * wanted > 0 and abs(wanted - held) < sizing[REBALANCE] * abs(wanted):
        return held
    return wanted


@inlined
def ticks_of(distance: float, tick: float) -> int:
    """Return a distance in whole ticks, half to even, at least one; 0 for none."""
    if not distance > 0.0:
        return 0
    return max(round(distance / tick), 1)


@compiled
def plan_order(signal: Signal, wanted: int, held: int, bid: int, ask: int, terms: Terms) -> Plan:
    """Return the order that leads from what is held to what is wanted.

    An entry by limit is made from flat only: what stands on the other side is closed at the market first, what stands
    on the same side stays. Stop and target are counted from the price the order is expected to trade at: the standing
    one, or its limit. Without room for a positive price there is no stop (or target).
    """
    nothing = Plan(0, 0, 0, 0, 0, False)
    limited = signal.offset > 0.0 and wanted != 0
    if limited and held != 0:
        if held * wanted > 0:
            return nothing
        wanted, limited = 0, False
    change = wanted - held
    change = max(min(change, terms.maximum), -terms.maximum)
    if abs(change) < terms.minimum:
        return nothing
    after = held + change
    if after == 0 or (held * after > 0 and abs(after) < abs(held)):
        return Plan(change, 0, 0, 0, 0, False)
    side = 1 if change > 0 else -1
    entry = ask if change > 0 else bid
    limit = 0
    if limited:
        entry -= side * ticks_of(signal.offset, terms.tick)
        if entry <= 0:
            return nothing
        limit = entry
    stop = ticks_of(signal.stop, terms.tick)
    target = ticks_of(signal.target, terms.tick)
    trailing = ticks_of(signal.trailing, terms.tick)
    if stop:
        stop = max(entry - side * stop, 0)
    if target:
        target = max(entry + side * target, 0)
    if trailing:
        trailing = min(max(trailing, terms.shortest), terms.longest)
    return Plan(change, limit, stop, target, trailing, True)
