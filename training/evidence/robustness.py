"""Does the result survive higher costs, more money and other times? All from the positions that were taken."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import per_time
from training.evaluation.metrics import log_loss_rows
from training.evaluation.strategy import earn, sharpe_interval, yearly_interval
from training.evidence.candidate import Candidate
from training.walkforward import class_frequencies

Array = NDArray[np.float64]
MULTIPLES = (1.0, 2.0, 3.0)
_PIP = 1e-4  # of the price: exact at a rate of 1 with four decimals, within half of it for the majors
_SECONDS = 60.0
REGIME_PARTS = 3


class Stress(msgspec.Struct, frozen=True, kw_only=True):
    """The same decisions at a multiple of the cost; yearly, with 95 % intervals."""

    multiple: float
    net_return: float
    net_return_low: float
    net_return_high: float
    sharpe: float
    cost: float


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """How much money the strategy carries before its own impact eats half of what it earns.

    ``equity`` is None where it earns nothing. Impact is the linear one of Almgren and Chriss ("Optimal execution of
    portfolio transactions", Journal of Risk 3, 2000) with the coefficients of the ``execution`` section: they are
    assumptions, and so is this number.
    """

    equity: float | None  # account currency
    impact_per_million: float  # yearly return lost at an equity of one million
    turnover: float  # notional traded a year, multiples of equity
    mean_exposure: float
    trades: int


class Regime(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the unseen period: by volatility of the decision times, or by calendar."""

    name: str
    steps: int
    net_return: float  # a year
    sharpe: float  # yearly
    skill: float  # log loss against the class frequencies of each fold's training rows


def cost_stress(candidate: Candidate, multiples: tuple[float, ...] = MULTIPLES) -> tuple[Stress, ...]:
    """Return what the same decisions earn at multiples of the cost.

    Decisions do not know of the higher cost: a trader that sees a wide spread would trade less and lose less.
    """
    result: list[Stress] = []
    for multiple in multiples:
        performance = earn(candidate.positions, multiple)
        year = yearly_interval(performance, candidate.sizing.steps_per_year, candidate.bootstrap)
        sharpe = sharpe_interval(performance, candidate.sizing.steps_per_year, candidate.bootstrap)
        years = len(performance.net) / candidate.sizing.steps_per_year
        result.append(
            Stress(
                multiple=multiple,
                net_return=year.value,
                net_return_low=year.low,
                net_return_high=year.high,
                sharpe=sharpe.value,
                cost=float(performance.cost.sum() / years),
            )
        )
    return tuple(result)


def capacity(candidate: Candidate, execution: Mapping[str, Any]) -> Capacity:
    """Return the equity at which impact takes half of the yearly net return.

    Args:
        candidate: whose positions are counted.
        execution: the section of ``params.yaml``; its impact coefficients are pips for a million units, and units are
            taken as account currency.
    """
    years = len(candidate.performance.net) / candidate.sizing.steps_per_year
    temporary = float(execution.get("temporary_impact_pips", 0.2))
    permanent = float(execution.get("permanent_impact_pips", 0.02))
    minutes = max(float(execution.get("duration_seconds", 300.0)) / _SECONDS, 1.0 / _SECONDS)
    # Trading X million over some minutes pays half the lasting move and the concession of its rate, on each unit.
    coefficient = _PIP * (permanent / 2.0 + temporary / minutes)
    impact = coefficient * float((candidate.positions.change**2).sum()) / years
    net = float(candidate.performance.net.sum()) / years
    return Capacity(
        equity=0.5 * net / impact * 1e6 if net > 0 and impact > 0 else None,
        impact_per_million=impact,
        turnover=float(candidate.performance.traded.sum() / years),
        mean_exposure=float(candidate.performance.exposure.mean()),
        trades=candidate.performance.trades,
    )


def regimes(candidate: Candidate) -> tuple[Regime, ...]:
    """Split the unseen period into thirds of volatility and thirds of time and judge each part."""
    steps = candidate.bootstrap.steps
    labels = candidate.dataset.label[candidate.rows]
    losses = per_time(log_loss_rows(candidate.answer, labels), candidate.step, steps)
    reference = per_time(_reference_losses(candidate), candidate.step, steps)
    known = np.isfinite(candidate.volatility)
    counts = np.maximum(per_time(known.astype(np.float64), candidate.step, steps), 1.0)
    volatility = per_time(np.where(known, candidate.volatility, 0.0), candidate.step, steps) / counts
    parts: list[tuple[str, NDArray[np.int64]]] = []
    for name, order in (("volatility", np.argsort(volatility, kind="stable")), ("calendar", np.arange(steps))):
        words = ("low", "middle", "high") if name == "volatility" else ("first", "second", "last")
        for word, part in zip(words, np.array_split(order, REGIME_PARTS), strict=True):
            parts.append((f"{word} third of {'volatility' if name == 'volatility' else 'time'}", part))
    yearly = candidate.sizing.steps_per_year
    result: list[Regime] = []
    for name, part in parts:
        net = candidate.performance.net[part]
        deviation = float(net.std())
        result.append(
            Regime(
                name=name,
                steps=len(part),
                net_return=float(net.mean()) * yearly,
                sharpe=float(net.mean()) / deviation * yearly**0.5 if deviation > 1e-12 else 0.0,
                skill=1.0 - float(losses[part].sum() / reference[part].sum()),
            )
        )
    return tuple(result)


def _reference_losses(candidate: Candidate) -> Array:
    """Return the log loss of each fold's training frequencies on its test rows, in the order of the rows."""
    dataset = candidate.dataset
    answers = [np.tile(class_frequencies(dataset, fold.train), (len(fold.test), 1)) for fold in candidate.folds]
    return log_loss_rows(np.concatenate(answers), dataset.label[candidate.rows])
