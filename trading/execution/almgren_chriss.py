"""The optimal liquidation trajectory of Almgren and Chriss, "Optimal execution of portfolio transactions" (2000).

Linear impact, arithmetic random walk, no drift. Numbers in parentheses are the paper's equations. Units are the
caller's: prices in quote currency, sizes in units, time in any one unit.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError

Array = NDArray[np.float64]


class Impact(msgspec.Struct, frozen=True):
    """What trading costs and how the price wanders.

    Attributes:
        volatility: σ, standard deviation of the price change over one unit of time (price / √time).
        temporary: η, price concession for each unit traded per unit of time (price · time / units).
        permanent: γ, lasting price move for each unit traded (price / units).
        fixed: ε, cost of each unit whatever the speed: half the spread and fees (price).
    """

    volatility: float
    temporary: float
    permanent: float = 0.0
    fixed: float = 0.0


def adjusted_impact(impact: Impact, interval: float) -> float:
    """Return η̃ = η − γτ/2 (the paper's section 1.5).

    Raises:
        BadInputError: it is not positive: the intervals are too long for the linear model, or there is no impact.
    """
    adjusted = impact.temporary - 0.5 * impact.permanent * interval
    if not adjusted > 0:
        raise BadInputError(
            f"temporary impact {impact.temporary:g} does not exceed half the permanent impact of one interval "
            f"({0.5 * impact.permanent * interval:g}): use more slices or a larger temporary impact"
        )
    return adjusted


def urgency(impact: Impact, risk_aversion: float, interval: float) -> float:
    """Return κ, from (2/τ²)(cosh κτ − 1) = κ̃² with κ̃² = λσ²/η̃ (section 2.2). 1/κ is the half-life of the trade.

    Raises:
        BadInputError: see ``adjusted_impact``.
    """
    squared = risk_aversion * impact.volatility**2 / adjusted_impact(impact, interval)
    # acosh(1 + u) = log1p(u + sqrt(u (2 + u))): exact for the small u of a patient trade.
    u = 0.5 * squared * interval**2
    return math.log1p(u + math.sqrt(u * (2.0 + u))) / interval


def trajectory(impact: Impact, risk_aversion: float, duration: float, count: int) -> Array:
    """Return what is left at the ``count + 1`` times from 0 to ``duration``, as a share of the whole: 1, …, 0.

    x_j = sinh(κ(T − t_j)) / sinh(κT) (section 2.2); the straight line where nothing speaks for haste.

    Raises:
        BadInputError: see ``adjusted_impact``.
    """
    interval = duration / count
    kappa = urgency(impact, risk_aversion, interval)
    left = duration - interval * np.arange(count + 1)
    left[-1] = 0.0
    total = kappa * duration
    if total < 1e-6:
        return np.asarray(left / duration, np.float64)
    # sinh a / sinh b = exp(a − b) (1 − exp(−2a)) / (1 − exp(−2b)): no overflow however urgent the trade is.
    shares = np.exp(kappa * left - total) * np.expm1(-2.0 * kappa * left) / math.expm1(-2.0 * total)
    return np.asarray(shares, np.float64)


def expected_cost(impact: Impact, units: float, holdings: Array, duration: float) -> float:
    """Return the expected implementation shortfall E(x) in quote currency.

    E = ½γX² + ε Σ|n_k| + (η̃/τ) Σ n_k² (section 1.5) with n_k = x_{k−1} − x_k.

    Args:
        impact: costs.
        units: X, the size.
        holdings: float64 [N + 1], what is left at each time as a share of the size, from 1 to 0.
        duration: T.

    Raises:
        BadInputError: see ``adjusted_impact``.
    """
    interval = duration / (len(holdings) - 1)
    trades = -np.diff(holdings) * abs(units)
    adjusted = adjusted_impact(impact, interval)
    return float(
        0.5 * impact.permanent * units**2
        + impact.fixed * np.abs(trades).sum()
        + adjusted / interval * np.square(trades).sum()
    )


def cost_variance(impact: Impact, units: float, holdings: Array, duration: float) -> float:
    """Return the variance of the shortfall V(x) = σ² Σ τ x_k² (section 1.4), in quote currency squared.

    Arguments as for ``expected_cost``.
    """
    interval = duration / (len(holdings) - 1)
    return float(impact.volatility**2 * interval * np.square(holdings[1:] * units).sum())
