"""Proper scores, hit rate and calibration of class probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES
from training.evaluation.bootstrap import BlockBootstrap, Interval, per_time
from training.labels import FLAT, LONG, SHORT

Probabilities = NDArray[np.float64]
Classes = NDArray[np.int8]


def log_loss_rows(probabilities: Probabilities, labels: Classes) -> NDArray[np.float64]:
    """Return the negative log likelihood of each label in nats; float64 [M]."""
    chosen = np.take_along_axis(probabilities, labels.astype(np.int64)[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(chosen, 1e-15))


def brier_rows(probabilities: Probabilities, labels: Classes) -> NDArray[np.float64]:
    """Return the squared distance from the label's corner of the simplex (Brier, 1950); float64 [M] in [0, 2]."""
    return ((probabilities - np.eye(3)[labels.astype(np.int64)]) ** 2).sum(axis=1)


def hit_rows(probabilities: Probabilities, labels: Classes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return per row whether the likelier side was right, and whether the row counts (it is short or long).

    Equal probabilities for both sides are half a hit: they claim nothing.
    """
    moved = labels != FLAT
    tilt = np.sign(probabilities[:, LONG] - probabilities[:, SHORT])
    side = np.where(labels == LONG, 1.0, -1.0)
    hit = np.where(tilt == 0.0, 0.5, (tilt == side).astype(np.float64))
    return np.where(moved, hit, 0.0), moved.astype(np.float64)


def skill_interval(
    losses: NDArray[np.float64],
    reference: NDArray[np.float64],
    time_index: NDArray[np.int64],
    bootstrap: BlockBootstrap,
) -> Interval:
    """Return the log-loss skill ``1 - loss / reference loss`` with its interval: 0 is no better than the reference."""
    columns = np.column_stack([per_time(values, time_index, bootstrap.steps) for values in (losses, reference)])
    return bootstrap.interval(columns, lambda sums: 1.0 - sums[..., 0] / sums[..., 1])


def direction_skill_interval(
    probabilities: Probabilities,
    reference: Probabilities,
    labels: Classes,
    time_index: NDArray[np.int64],
    bootstrap: BlockBootstrap,
) -> Interval:
    """Return the log-loss skill for the side alone, among rows that moved beyond cost, with its interval.

    The whole score also rewards knowing *when* price stays within cost; a strategy is paid for knowing *which way*.
    """
    moved = labels != FLAT
    columns: list[NDArray[np.float64]] = []
    for answer in (probabilities, reference):
        sides = answer[:, [SHORT, LONG]]
        share = sides[np.arange(len(labels)), (labels == LONG).astype(np.int64)] / sides.sum(axis=1)
        losses = np.where(moved, -np.log(np.maximum(share, 1e-15)), 0.0)
        columns.append(per_time(losses, time_index, bootstrap.steps))
    return bootstrap.interval(np.column_stack(columns), lambda sums: 1.0 - sums[..., 0] / sums[..., 1])


def taken_rows(
    probabilities: Probabilities, labels: Classes, sides: NDArray[np.int8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return per row of meta-labels whether it was rightly taken, and whether it counts: taking was the likelier."""
    taken = (sides != 0) & (probabilities[:, FLAT] < 0.5)
    return (taken & (labels != FLAT)).astype(np.float64), taken.astype(np.float64)


def hit_interval(
    probabilities: Probabilities,
    labels: Classes,
    time_index: NDArray[np.int64],
    bootstrap: BlockBootstrap,
    sides: NDArray[np.int8] | None = None,
) -> Interval:
    """Return the share of right sides among rows that moved beyond cost, with its interval; 0.5 is a coin.

    Of meta-labels, whose side is given, it is the share that paid among the rows that the model would take.
    """
    hit, counted = hit_rows(probabilities, labels) if sides is None else taken_rows(probabilities, labels, sides)
    columns = np.column_stack([per_time(values, time_index, bootstrap.steps) for values in (hit, counted)])
    return bootstrap.interval(columns, lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1.0))


def reliability(probabilities: Probabilities, labels: Classes, bins: int) -> dict[str, list[dict[str, float]]]:
    """Return per class the mean probability, observed frequency and row count of equally filled bins."""
    result: dict[str, list[dict[str, float]]] = {}
    for index, name in enumerate(CLASSES):
        column = probabilities[:, index]
        order = np.argsort(column, kind="stable")
        result[name] = [
            {
                "probability": float(column[part].mean()),
                "frequency": float((labels[part] == index).mean()),
                "count": float(len(part)),
            }
            for part in np.array_split(order, bins)
            if len(part)
        ]
    return result


def calibration_error(bins: dict[str, list[dict[str, float]]]) -> float:
    """Return the mean over classes of the expected calibration error of their bins (Naeini et al., AAAI 2015)."""
    errors: list[float] = []
    for rows in bins.values():
        total = sum(row["count"] for row in rows)
        errors.append(sum(row["count"] * abs(row["probability"] - row["frequency"]) for row in rows) / total)
    return float(np.mean(errors))


def summary(value: Interval) -> dict[str, Any]:
    """Return an interval as JSON."""
    return {"value": value.value, "low": value.low, "high": value.high}
