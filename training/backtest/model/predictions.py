"""What a registered model says on every bar of a range: the features of the one kernel, the package's own graph.

Nothing is fitted. Features are a fold over all bars from the first of the catalog, so a row depends on no bar after it,
and a window reaches back over the range's start as the trader's does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES, Panel
from core.errors import BadInputError, IntegrityError
from features.advance import PRESENT_COLUMN
from features.batch import compute
from features.sets import FeatureSet
from features.state import KernelState
from serving.release.evidence import VerifiedPackage
from training.windows import Windows, instrument_order

_STEPS_AT_ONCE = 20_000  # bounds memory: the features of so many steps are held in double precision at a time
_WINDOWS_AT_ONCE = 8_192


@dataclass(frozen=True)
class Forecasts:
    """What is known of each bar when it has closed; T rows of N instruments.

    Attributes:
        probabilities: float64 [T, N, 3], short, flat, long as the model answered them; NaN without a bar.
        volatilities: float64 [T, N], of one step's log return, by which positions are sized.
        sides: float32 [T, N], the feature that gives the side of meta-labels; None without one.
    """

    probabilities: NDArray[np.float64]
    volatilities: NDArray[np.float64]
    sides: NDArray[np.float32] | None


def forecast(
    panel: Panel,
    first: int,
    definition: FeatureSet,
    package: VerifiedPackage,
    volatility: str,
    side: str | None,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> Forecasts:
    """Return the forecasts of the panel's rows from ``first`` on.

    Args:
        panel: all bars from the first of the catalog to the end of the range.
        first: row of the panel where the range begins.
        definition: the feature set the model was made for.
        package: verified.
        volatility: column that sizes positions.
        side: column of the primary rule of meta-labels.
        report: called with bars predicted and bars in all.

    Raises:
        BadInputError: the feature set has no such column.
        IntegrityError: the model gives no number for a row.
    """
    for column in (volatility, *([side] if side else [])):
        if column not in definition.columns:
            raise BadInputError(f"params.yaml names the feature {column!r}: {definition.name} has no such column")
    manifest = package.manifest
    chosen = [definition.columns.index(name) for name in manifest.features]
    step, instrument, matrix, sigma, sided = _features(panel, definition, chosen, volatility, side)
    shape = (len(panel.time_ns) - first, len(panel.instruments))
    probabilities = np.full((*shape, len(CLASSES)), np.nan)
    wanted = np.flatnonzero(step >= first)
    order = instrument_order(instrument, panel.time_ns[step]) if manifest.lookback > 1 else ()
    windows = Windows(matrix, wanted, manifest.lookback, *order)
    for start in range(0, len(wanted), _WINDOWS_AT_ONCE):
        part = slice(start, start + _WINDOWS_AT_ONCE)
        answers = package.session.run(np.ascontiguousarray(windows[part]))
        if not np.isfinite(answers).all():
            row = wanted[part][int(np.argmin(np.isfinite(answers).all(axis=1)))]
            raise IntegrityError(
                f"the model gives no probability for {panel.instruments[instrument[row]]} at row {step[row]}: look at "
                "its features"
            )
        probabilities[step[wanted[part]] - first, instrument[wanted[part]]] = answers.astype(np.float64)
        report(min(start + _WINDOWS_AT_ONCE, len(wanted)), len(wanted))
    return Forecasts(probabilities, sigma[first:], None if sided is None else sided[first:])


def _features(
    panel: Panel, definition: FeatureSet, chosen: list[int], volatility: str, side: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float64], NDArray[np.float32] | None]:
    """Return step, instrument and features [R, F] of every bar, volatilities [T, N] and the side's feature [T, N]."""
    state: KernelState | None = None
    steps: list[NDArray[np.int64]] = []
    instruments: list[NDArray[np.int64]] = []
    parts: list[NDArray[np.float32]] = []
    sigma = np.full((len(panel.time_ns), len(panel.instruments)), np.nan)
    sided = None if side is None else np.full(sigma.shape, np.nan, np.float32)
    for low in range(0, len(panel.time_ns), _STEPS_AT_ONCE):
        here = slice(low, low + _STEPS_AT_ONCE)
        piece = Panel(panel.instruments, panel.time_ns[here], panel.arrival_ns[here], panel.values[here], panel.kind)
        values, state = compute(piece, definition, state)
        step, instrument = np.nonzero(~np.isnan(values[:, :, PRESENT_COLUMN]))
        steps.append(step + low)
        instruments.append(instrument)
        parts.append(values[step, instrument][:, chosen].astype(np.float32))
        sigma[here] = values[:, :, definition.columns.index(volatility)]
        if sided is not None and side is not None:
            sided[here] = values[:, :, definition.columns.index(side)]
    return np.concatenate(steps), np.concatenate(instruments), np.concatenate(parts), sigma, sided
