"""What the predictions would have earned after cost, with the sizing that the trader uses.

Positions are fractions of equity, decided at each bar's close and held to the instrument's next bar. A step earns
``fraction * move of the middle`` and pays half spread, slippage and commission on what is traded. Returns are taken in
the pair's quote currency as a fraction of the notional, and positions are not re-marked between decisions: both are
effects of second order that the trader's own ledger does account for.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from trading.strategy.sizing import SizingParameters, target_fraction
from training.dataset import Dataset
from training.evaluation.bootstrap import BlockBootstrap, Interval
from training.labels import LONG, SHORT

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Performance:
    """One strategy over T decision times; arrays float64 [T], fractions of equity."""

    net: Array
    gross: Array
    cost: Array
    traded: Array  # notional traded, fraction of equity
    exposure: Array  # sum of absolute fractions
    trades: int

    @property
    def equity(self) -> Array:
        """Equity after each step, starting from 1."""
        return np.cumprod(1.0 + self.net, dtype=np.float64)

    @property
    def drawdown(self) -> float:
        """The deepest fall from a peak, as a fraction."""
        curve = np.concatenate([[1.0], self.equity])
        return float((1.0 - curve / np.maximum.accumulate(curve)).max())


def step_volatility(dataset: Dataset, feature: str | None) -> Array:
    """Return the volatility of one step's log return that sizing uses; float64 [R].

    Args:
        dataset: the rows.
        feature: ``strategy.volatility_feature``, the column the trader sizes by; None: the estimate beside the labels.

    Raises:
        BadInputError: the feature set has no such column.
    """
    if feature is None:
        return dataset.economics["volatility"]
    if feature not in dataset.feature_names:
        raise BadInputError(f"params.yaml: strategy.volatility_feature {feature!r} is no column of the feature set")
    return dataset.features[:, dataset.feature_names.index(feature)].astype(np.float64)


def model_targets(probabilities: Array, volatility: Array, cost_return: Array, sizing: SizingParameters) -> Array:
    """Return the fraction each row asks for, by the trader's own sizing; float64 [M]."""
    return target_fraction(probabilities[:, SHORT], probabilities[:, LONG], volatility, cost_return, sizing)


def momentum_targets(trailing_return: Array, volatility: Array, sizing: SizingParameters) -> Array:
    """Return trend following at full size (Moskowitz, Ooi and Pedersen, "Time series momentum", JFE 104, 2012)."""
    yearly = volatility * np.sqrt(sizing.steps_per_year)
    trend = np.sign(np.nan_to_num(trailing_return))
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.minimum(sizing.target_volatility / yearly, sizing.maximum_leverage_per_instrument)
    return np.where(volatility > 0, trend * size, 0.0)


@dataclass(frozen=True)
class Positions:
    """What a strategy holds, T decision times of N instruments; arrays float64 [T, N].

    ``held`` is the fraction of equity after each decision, ``change`` what was traded for it without its sign,
    ``moves`` the middle's return to the instrument's next bar, ``costs`` one side's cost as a fraction; both are 0
    where ``known`` is false: the instrument has no bar.
    """

    time_ns: NDArray[np.int64]
    held: Array
    change: Array
    moves: Array
    costs: Array
    known: NDArray[np.bool_]


def hold(dataset: Dataset, rows: NDArray[np.int64], targets: Array, sizing: SizingParameters) -> Positions:
    """Follow the targets row by row with the trader's own rule of when a change is worth a trade."""
    axis, step = np.unique(dataset.time_ns[rows], return_inverse=True)
    shape = (len(axis), len(dataset.instruments))
    place = (step, dataset.instrument[rows])

    def grid(values: Array, missing: float) -> Array:
        result = np.full(shape, missing)
        result[place] = values
        return result

    wanted = grid(targets, np.nan)
    held = _held(wanted, sizing.rebalance_threshold * sizing.maximum_leverage_per_instrument)
    return Positions(
        time_ns=axis,
        held=held,
        change=np.abs(np.diff(held, axis=0, prepend=np.zeros((1, shape[1])))),
        moves=grid(dataset.economics["step_return"][rows], 0.0),
        costs=grid(dataset.economics["side_cost"][rows], 0.0),
        known=~np.isnan(wanted),
    )


def earn(positions: Positions, cost_multiple: float = 1.0) -> Performance:
    """Add the instruments up per decision time; what is held at the end is closed.

    Args:
        positions: of ``hold``.
        cost_multiple: of what every trade pays.
    """
    held, change, costs = positions.held, positions.change, positions.costs * cost_multiple
    traded, cost = change.sum(axis=1), (change * costs).sum(axis=1)
    trades = int(np.count_nonzero(change))
    if len(held):
        last = held[-1]
        trades += int(np.count_nonzero(last))
        traded[-1] += np.abs(last).sum()
        cost[-1] += (np.abs(last) * _last_known(costs, positions.known)).sum()
    gross = (held * positions.moves).sum(axis=1)
    return Performance(gross - cost, gross, cost, traded, np.abs(held).sum(axis=1), trades)


def simulate(dataset: Dataset, rows: NDArray[np.int64], targets: Array, sizing: SizingParameters) -> Performance:
    """Trade the targets row by row and add the instruments up per decision time.

    A position is opened, moved and at the end closed at the cost of one side each time.
    """
    return earn(hold(dataset, rows, targets, sizing))


@numba.njit(cache=True)
def _held(wanted: Array, step: float) -> Array:  # pragma: no cover - compiled
    """Return the fraction held after each decision, float64 [T, N]: ``trading.strategy.sizing.rebalance`` row by row.

    Where an instrument has no bar (NaN) there is no decision: the position stays, and its move is in the step of its
    next bar.
    """
    result = np.zeros_like(wanted)
    for column in range(wanted.shape[1]):
        current = 0.0
        for t in range(wanted.shape[0]):
            target = wanted[t, column]
            if not np.isnan(target) and (abs(target - current) >= step or target == 0.0 or current * target < 0.0):
                current = target
            result[t, column] = current
    return result


def _last_known(costs: Array, known: NDArray[np.bool_]) -> Array:
    """Return the cost at each instrument's last decision, float64 [N]; 0 where it never had one."""
    last = len(known) - 1 - np.argmax(known[::-1], axis=0)
    return np.where(known.any(axis=0), costs[last, np.arange(costs.shape[1])], 0.0)


def sharpe_interval(performance: Performance, steps_per_year: float, bootstrap: BlockBootstrap) -> Interval:
    """Return the yearly Sharpe ratio of net returns with its interval; 0 for a strategy that never moves."""
    columns = np.column_stack([performance.net, performance.net**2, np.ones(len(performance.net))])

    def statistic(sums: Array) -> Array:
        mean, square = sums[..., 0] / sums[..., 2], sums[..., 1] / sums[..., 2]
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        return np.where(deviation > 1e-12, mean / np.maximum(deviation, 1e-12), 0.0) * np.sqrt(steps_per_year)

    return bootstrap.interval(columns, statistic)


def yearly_interval(performance: Performance, steps_per_year: float, bootstrap: BlockBootstrap) -> Interval:
    """Return the mean net return of a year (uncompounded, fraction of equity) with its interval."""
    columns = np.column_stack([performance.net, np.ones(len(performance.net))])
    return bootstrap.interval(columns, lambda sums: sums[..., 0] / sums[..., 1] * steps_per_year)
