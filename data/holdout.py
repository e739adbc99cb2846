"""The split between what training may see and what only trading sees."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from data.granularity import DAY


def cutoff_ns(time_ns: NDArray[np.int64], holdout: dict[str, Any]) -> int:
    """Return the first time step of the holdout: training uses ``time < cutoff``, trading ``time >= cutoff``.

    Args:
        time_ns: int64 [T], strictly increasing decision times.
        holdout: ``{"count": 250}``, the last 250 steps, or ``{"days": 365}``, the last 365 days.

    Raises:
        BadInputError: the holdout is malformed, or leaves nothing on one of the two sides.
    """
    if len(holdout) != 1 or next(iter(holdout)) not in ("count", "days"):
        raise BadInputError(f"data.holdout is {holdout}: give one of {{count: 250}} and {{days: 365}}")
    unit, amount = next(iter(holdout.items()))
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 1:
        raise BadInputError(f"data.holdout.{unit} is {amount!r}: give a whole number of at least 1")
    steps = len(time_ns)
    if not steps:
        raise BadInputError("data.holdout cannot split a series without rows")
    if unit == "count":
        index = steps - amount
    else:
        index = int(np.searchsorted(time_ns, int(time_ns[-1]) - amount * DAY, side="right"))
    if not 0 < index < steps:
        raise BadInputError(f"data.holdout {{{unit}: {amount}}} leaves no rows to train on ({steps} rows in all)")
    return int(time_ns[index])
