"""One row per labelled bar, when it could be decided on, and that none of it reaches into the holdout."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES, Panel
from core.errors import IntegrityError

SHORT, FLAT, LONG = range(len(CLASSES))
STOPPED, EXPIRED, PAID = -1, 0, 1  # which barrier ended a trade: its stop, the vertical one, its target


@dataclass(frozen=True)
class Outcomes:
    """How the trade on each side of a row ended, for labels that end at barriers; arrays [R].

    ``pays`` says whether the move paid ``minimum_edge`` round trips, ``touch`` which barrier was met, ``end_bar`` the
    ordinal of the bar it was met in among the instrument's own.
    """

    pays_long: NDArray[np.bool_]
    pays_short: NDArray[np.bool_]
    touch_long: NDArray[np.int8]
    touch_short: NDArray[np.int8]
    end_bar_long: NDArray[np.int64]
    end_bar_short: NDArray[np.int64]
    end_ns_long: NDArray[np.int64]
    end_ns_short: NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """One entry per labelled bar, ordered by time and then instrument; R entries.

    Returns are fractions of the entry price. ``volatility`` is the causal standard deviation of one step's log return,
    ``step_return`` the middle's return to the instrument's next bar, ``trailing_return`` over the last 20 bars.
    """

    step: NDArray[np.int64]  # index into the panel's time axis
    instrument: NDArray[np.int64]  # index into ``instruments``
    time_ns: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]  # when the step could be decided on: every bar up to it had arrived
    label_end_ns: NDArray[np.int64]
    label: NDArray[np.int8]
    net_long: NDArray[np.float64]
    net_short: NDArray[np.float64]
    cost_return: NDArray[np.float64]
    side_cost: NDArray[np.float64]  # one side, as a fraction of the price
    step_return: NDArray[np.float64]
    volatility: NDArray[np.float64]
    trailing_return: NDArray[np.float64]
    bar: NDArray[np.int64]  # ordinal of the bar among the instrument's own
    instruments: tuple[str, ...]
    end_bar: NDArray[np.int64] | None = None  # ordinal of the label's last bar; None: ``horizon`` bars after ``bar``
    outcomes: Outcomes | None = None


def decision_moments(panel: Panel) -> NDArray[np.int64]:
    """Return when each step could be decided on, int64 [T]: when every bar up to it had arrived.

    Features rest on the whole cross-section and on all rows before, so the last arrival counts, as in ``features``.
    """
    return np.maximum.accumulate(np.maximum(panel.arrival_ns.max(axis=1), panel.time_ns))


def distinct_moments(moment: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which steps could be decided on before the next one was known, bool [T].

    For the others (a correction that came days later) a point-in-time join would hand out the features of a later step.
    """
    microseconds = moment // 1000
    return np.append(np.diff(microseconds) > 0, True)


def assert_before_holdout(time_ns: NDArray[np.int64], label_end_ns: NDArray[np.int64], cutoff_ns: int) -> None:
    """Refuse rows of the holdout, or labels that look into it.

    Raises:
        IntegrityError: naming the number of such rows.
    """
    late = int(np.count_nonzero((time_ns >= cutoff_ns) | (label_end_ns >= cutoff_ns)))
    if late:
        raise IntegrityError(f"{late} training rows reach into the holdout: labels must end before {cutoff_ns}")
