"""Position sizing: volatility-scaled, capped fractional Kelly on the edge that is left after cost.

Pure functions of floats or numpy arrays (they broadcast), shared by the live loop, the backtest and model evaluation,
so that a size is decided by one formula everywhere.

With ``s`` the volatility of the return over the holding horizon, ``c`` the round-trip cost and ``m·c`` the move from
which a label is called long or short:

* A tail move beyond the threshold ``m·c`` has the expected size ``m·c + s/√2``. This is exact for Laplace returns:
  their excess over any threshold is exponential with mean ``s/√2`` (Kotz, Kozubowski and Podgórski, *The Laplace
  Distribution and Generalizations*, 2001); FX returns, which have fat tails, are nearer to it than to a normal law.
* Expected return: ``e = (p_long − p_short)·(m·c + s/√2)``; the flat class is taken as symmetric around zero.
* A model of meta-labels says only whether the side of a primary rule pays, with probability ``p``; what does not pay
  is lost, not missed. There ``p − (1 − p)·l`` takes the place of the difference, on that side and never below 0, with
  ``l`` the loss in units of the win (stop over target).
* Edge after cost: ``max(|e| − c, 0)``, on the side of ``e``.
* Kelly fraction of a small edge: ``edge / s²`` (Kelly, "A New Interpretation of Information Rate", Bell System
  Technical Journal 35, 1956; continuous form: Thorp, "The Kelly Criterion in Blackjack, Sports Betting and the Stock
  Market", 2006, section 7). A fraction of it is taken because the edge is an estimate.
* Caps: the fraction whose yearly volatility is ``target_volatility``, and a leverage limit.
* Hysteresis: a position on the side of ``e`` is not closed while ``|e| > hold_cost_share·c``, and never enlarged for
  it. Its closing side must be paid sooner or later; closing now and entering again costs ``c`` once more. With costs in
  proportion to the trade the best policy is such a band in which nothing is done (Davis and Norman, "Portfolio
  Selection with Transaction Costs", Mathematics of Operations Research 15, 1990). 1 is no band; at 0.5 the edge must
  pay one side.
"""

import math
from collections.abc import Mapping
from typing import Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from core.params import section

Array = NDArray[np.float64]
_OF_OTHERS = {"volatility_feature"}  # of the section: read by whoever has the features


class SizingParameters(msgspec.Struct, frozen=True):
    """What sizing needs to know; the defaults are those of ``params.yaml``."""

    target_volatility: float = 0.08  # a year, per instrument at full conviction
    kelly_fraction: float = 0.25  # a quarter: half the growth loss of an edge overestimated twofold
    maximum_leverage_per_instrument: float = 1.0  # of equity
    steps_per_year: float = 260.0
    rebalance_threshold: float = 0.1  # share of the leverage cap
    stop_loss_volatilities: float = 4.0  # distance of the attached stop, in horizon volatilities; 0: none
    take_profit_volatilities: float = 0.0  # of the attached target; 0: none
    trailing_stop_volatilities: float = 0.0  # of the attached trailing stop; 0: none
    maximum_slippage_pips: float | None = None  # beyond it an order that opens is not filled; None: at any price
    hold_cost_share: float = 1.0  # of the round-trip cost that the edge of a held position must exceed
    horizon: int = 1  # steps a label looks ahead
    minimum_edge: float = 1.0  # multiple of the round-trip cost from which a label is called long or short
    skip_loss: float = 0.0  # of meta-labels: what a trade that does not pay loses, in wins; 0: no meta-labels

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "SizingParameters":
        """Build from a whole ``params.yaml``: its ``strategy`` section; horizon, edge and loss from ``labels``.

        Raises:
            BadInputError: a value is missing, of the wrong type or out of range, or a name is unknown.
        """
        labels = params.get("labels", {})
        more = {key: labels[key] for key in ("horizon", "minimum_edge") if key in labels}
        if labels.get("kind") == "meta_labels":
            more["skip_loss"] = _skip_loss(labels.get("barriers") or {})
        parameters = section(params, "strategy", cls, _OF_OTHERS, more)
        parameters.check()
        return parameters

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            BadInputError: naming the parameter.
        """
        for name in ("target_volatility", "maximum_leverage_per_instrument", "steps_per_year", "horizon"):
            if not getattr(self, name) > 0:
                raise BadInputError(f"strategy parameter {name} must be above 0, not {getattr(self, name)}")
        for name in (
            "rebalance_threshold",
            "stop_loss_volatilities",
            "take_profit_volatilities",
            "trailing_stop_volatilities",
            "minimum_edge",
            "skip_loss",
        ):
            if not getattr(self, name) >= 0:
                raise BadInputError(f"strategy parameter {name} must not be negative, not {getattr(self, name)}")
        if not 0 < self.kelly_fraction <= 1:
            raise BadInputError(f"strategy parameter kelly_fraction must be in (0, 1], not {self.kelly_fraction}")
        if not 0 <= self.hold_cost_share <= 1:
            raise BadInputError(f"strategy parameter hold_cost_share must be in [0, 1], not {self.hold_cost_share}")
        if self.maximum_slippage_pips is not None and not self.maximum_slippage_pips > 0:
            raise BadInputError(
                f"strategy parameter maximum_slippage_pips must be above 0 or null, not {self.maximum_slippage_pips}"
            )


@overload
def target_fraction(
    probability_short: float,
    probability_long: float,
    volatility: float,
    cost_return: float,
    parameters: SizingParameters,
) -> float: ...
@overload
def target_fraction(
    probability_short: Array,
    probability_long: Array,
    volatility: Array | float,
    cost_return: Array | float,
    parameters: SizingParameters,
) -> Array: ...
def target_fraction(
    probability_short: Array | float,
    probability_long: Array | float,
    volatility: Array | float,
    cost_return: Array | float,
    parameters: SizingParameters,
) -> Array | float:
    """Return the signed fraction of equity to hold: 0.5 is long half the equity in notional, −1 short all of it.

    Args:
        probability_short: calibrated probability that a short pays after cost, in [0, 1].
        probability_long: the same for a long.
        volatility: standard deviation of the log return of one step (not of a year), above 0.
        cost_return: round-trip cost as a fraction of the price: spread, slippage and commission of both sides.
        parameters: limits and the label's definition.

    Returns:
        A float for scalar input, else float64 of the broadcast shape. It is 0 where the edge does not pay the cost and
        where an input is not finite or the volatility is not positive: without a measure of risk there is no position.
    """
    if (
        isinstance(probability_short, float)
        and isinstance(probability_long, float)
        and isinstance(volatility, float)
        and isinstance(cost_return, float)
    ):
        return _one_target(
            float(probability_short), float(probability_long), float(volatility), float(cost_return), parameters
        )
    sigma = np.asarray(volatility, np.float64) * math.sqrt(parameters.horizon)
    cost = np.asarray(cost_return, np.float64)
    tilt = np.asarray(probability_long, np.float64) - np.asarray(probability_short, np.float64)
    if parameters.skip_loss:
        taken = np.abs(tilt)
        tilt = np.copysign(np.maximum(taken - (1.0 - taken) * parameters.skip_loss, 0.0), tilt)
    with np.errstate(all="ignore"):
        expected = tilt * (parameters.minimum_edge * cost + sigma / math.sqrt(2.0))
        edge = np.maximum(np.abs(expected) - cost, 0.0)
        variance = sigma * sigma
        kelly = parameters.kelly_fraction * edge / variance
        yearly = sigma * math.sqrt(parameters.steps_per_year / parameters.horizon)
        cap = np.minimum(parameters.target_volatility / yearly, parameters.maximum_leverage_per_instrument)
        size = np.copysign(np.minimum(kelly, cap), expected)
        usable = np.isfinite(size) & (sigma > 0) & (variance > 0) & (cost >= 0) & (edge > 0)
    result = np.where(usable, size, 0.0)
    return float(result) if result.ndim == 0 else result


def _one_target(
    probability_short: float, probability_long: float, volatility: float, cost: float, parameters: SizingParameters
) -> float:
    """Return the same for one instrument, bit for bit: as arrays of one element it took twelve times as long."""
    sigma = volatility * math.sqrt(parameters.horizon)
    variance = sigma * sigma
    if not (variance > 0 and sigma > 0 and cost >= 0):
        return 0.0
    expected = _tilt(probability_short, probability_long, parameters) * (
        parameters.minimum_edge * cost + sigma / math.sqrt(2.0)
    )
    edge = abs(expected) - cost
    if not edge > 0:
        return 0.0
    kelly = parameters.kelly_fraction * edge / variance
    yearly = sigma * math.sqrt(parameters.steps_per_year / parameters.horizon)
    cap = min(parameters.target_volatility / yearly, parameters.maximum_leverage_per_instrument)
    size = math.copysign(min(kelly, cap), expected)
    return size if math.isfinite(size) else 0.0


def _tilt(probability_short: float, probability_long: float, parameters: SizingParameters) -> float:
    """Return how much more is won than lost, in wins, signed by the side."""
    tilt = probability_long - probability_short
    if not parameters.skip_loss:
        return tilt
    taken = abs(tilt)
    return math.copysign(max(taken - (1.0 - taken) * parameters.skip_loss, 0.0), tilt)


def _skip_loss(barriers: Mapping[str, Any]) -> float:
    """Return what a trade that does not pay loses, in wins: stop over target, 1 where one of them is not set."""
    target, stop = barriers.get("take_profit", 1.0), barriers.get("stop_loss", 1.0)
    return float(stop) / float(target) if target and stop else 1.0


def held_fraction(
    current: float,
    target: float,
    probability_short: float,
    probability_long: float,
    volatility: float,
    cost_return: float,
    parameters: SizingParameters,
) -> float:
    """Return ``target``, or what is held where hysteresis keeps a position that ``target`` would close.

    Args:
        current: signed fraction of equity held.
        target: what ``target_fraction`` gave for the same forecast.
        probability_short, probability_long, volatility, cost_return, parameters: as for ``target_fraction``.
    """
    if target != 0.0 or not current or not (volatility > 0 and cost_return >= 0):
        return target
    sigma = volatility * math.sqrt(parameters.horizon)
    expected = _tilt(probability_short, probability_long, parameters) * (
        parameters.minimum_edge * cost_return + sigma / math.sqrt(2.0)
    )
    if not (expected * current > 0 and abs(expected) > parameters.hold_cost_share * cost_return):
        return target
    yearly = volatility * math.sqrt(parameters.steps_per_year)
    cap = min(parameters.target_volatility / yearly, parameters.maximum_leverage_per_instrument)
    return math.copysign(min(abs(current), cap), current)


@overload
def rebalance(current: float, target: float, parameters: SizingParameters) -> float: ...
@overload
def rebalance(current: Array, target: Array, parameters: SizingParameters) -> Array: ...
def rebalance(current: Array | float, target: Array | float, parameters: SizingParameters) -> Array | float:
    """Return the fraction to go to: ``target`` where it is worth a trade, else ``current``.

    It is worth one where the fraction moves by at least ``rebalance_threshold`` of the leverage cap, where the
    position must be closed (target 0) and where it would otherwise stand on the wrong side.
    """
    step = parameters.rebalance_threshold * parameters.maximum_leverage_per_instrument
    if isinstance(current, float) and isinstance(target, float):
        worth = abs(target - current) >= step or target == 0.0 or current * target < 0.0
        return float(target if worth else current)
    held = np.asarray(current, np.float64)
    wanted = np.asarray(target, np.float64)
    trade = (np.abs(wanted - held) >= step) | (wanted == 0.0) | (held * wanted < 0.0)
    result = np.where(trade, wanted, held)
    return float(result) if result.ndim == 0 else result
