"""What the trades that barrier labels stand for would have earned, had the model's side been taken in each row.

The strategy of the report decides anew at each bar, as the trader does. These trades are held to their own barrier:
they tell whether what was learnt is what pays.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.evaluation import metrics
from training.evaluation.bootstrap import BlockBootstrap


def label_trades(
    dataset: Dataset,
    rows: NDArray[np.int64],
    targets: NDArray[np.float64],
    time_index: NDArray[np.int64],
    bootstrap: BlockBootstrap,
) -> dict[str, Any]:
    """Return number, share with a profit, and mean net return of the trades with its interval.

    Args:
        dataset: the rows.
        rows: the test rows, M of them.
        targets: what is asked for in each, float64 [M]; its sign is the side, 0 is no trade.
        time_index: decision time of each, int64 [M].
        bootstrap: over decision times.
    """
    taken = targets != 0.0
    net = np.where(targets > 0.0, dataset.economics["net_long"][rows], dataset.economics["net_short"][rows])
    columns = [
        metrics.per_time(values, time_index, bootstrap.steps)
        for values in (np.where(taken, net, 0.0), taken.astype(np.float64))
    ]
    mean = bootstrap.interval(np.column_stack(columns), lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1.0))
    count = int(np.count_nonzero(taken))
    return {
        "trades": count,
        "share_with_profit": float(np.count_nonzero(taken & (net > 0.0)) / max(count, 1)),
        "net_return_a_trade": metrics.summary(mean),
    }
