"""What every statistic refuses before it computes: too short, not finite, of the wrong shape."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError

Series = NDArray[np.float64]
Matrix = NDArray[np.float64]


def checked_series(values: Any, name: str, least: int = 3) -> Series:
    """Return a contiguous float64 [T].

    Raises:
        BadInputError: not one-dimensional, shorter than ``least``, or with a value that is not finite.
    """
    series = np.ascontiguousarray(values, np.float64)
    if series.ndim != 1:
        raise BadInputError(f"{name} must be one series, not an array of shape {series.shape}")
    _check(series, name, least)
    return series


def checked_matrix(values: Any, name: str, least: int = 3, columns: int = 1) -> Matrix:
    """Return a contiguous float64 [T, K].

    Raises:
        BadInputError: not two-dimensional, fewer rows than ``least``, fewer columns than ``columns``, not finite.
    """
    matrix = np.ascontiguousarray(values, np.float64)
    if matrix.ndim != 2:
        raise BadInputError(f"{name} must be a matrix [time, column], not an array of shape {matrix.shape}")
    if matrix.shape[1] < columns:
        raise BadInputError(f"{name} has {matrix.shape[1]} columns; at least {columns} are needed")
    _check(matrix, name, least)
    return matrix


def checked_confidence(confidence: float) -> float:
    """Return a confidence level that lies strictly between 0 and 1.

    Raises:
        BadInputError: it does not.
    """
    if not 0.0 < confidence < 1.0:
        raise BadInputError(f"a confidence of {confidence} lies outside (0, 1)")
    return float(confidence)


def _check(values: NDArray[np.float64], name: str, least: int) -> None:
    if len(values) < least:
        raise BadInputError(f"{name} has {len(values)} rows; at least {least} are needed")
    bad = ~np.isfinite(values)
    if bad.any():
        raise BadInputError(f"{name} has {int(bad.sum())} values that are not finite; drop or mend those rows first")
