"""Mean and scale of each feature, a block of rows at a time: a million rows in double precision is twice the matrix."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.windows import AnyWindows, last_rows

_BLOCK = 65_536


def moments(windows: AnyWindows, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return mean and inverse standard deviation per feature over known values; a constant feature is scaled to 0.

    Args:
        windows: N windows over F features.
        rows: which of them count, int64.
    """
    features = windows.shape[2]
    count = np.zeros(features, np.int64)
    total = np.zeros(features)
    for start in range(0, len(rows), _BLOCK):
        block = last_rows(windows, rows[start : start + _BLOCK])
        known = ~np.isnan(block)
        count += known.sum(axis=0)
        total = _going_on(total, np.where(known, block, 0.0).astype(np.float64))
    count = np.maximum(count, 1)
    mean = total / count
    squares = np.zeros(features)
    for start in range(0, len(rows), _BLOCK):
        block = last_rows(windows, rows[start : start + _BLOCK])
        squares = _going_on(squares, np.where(np.isnan(block), 0.0, block - mean) ** 2)
    spread = np.sqrt(squares / count)
    scale = np.where(spread > 1e-12, 1.0 / np.maximum(spread, 1e-12), 0.0)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(scale, dtype=torch.float32)


def _going_on(total: NDArray[np.float64], block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the rows of all blocks so far: the same digits as of all rows at once, one after the other."""
    block[0] += total
    return block.sum(axis=0)
