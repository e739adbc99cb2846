"""Cost-aware fixed-horizon labels, their exact end, and the returns a trade would have realised.

A decision at bar ``t`` of an instrument buys at the ask (sells at the bid) of that bar's close and closes at the other
side ``horizon`` of the instrument's own bars later, paying slippage and commission on both sides. With ``m`` the move
of the middle and ``C`` the whole round trip in price units

    C = half_spread[t] + half_spread[t+h] + 2 * slippage + commission * (middle[t] + middle[t+h])

a row is *long* where ``m > k*C``, *short* where ``m < -k*C`` and *flat* otherwise; ``k`` is ``minimum_edge``. With
``k = 1`` long means exactly that a long paid after cost. Information up to ``label_end_ns`` went into the label: that
is what purging must respect (López de Prado, *Advances in Financial Machine Learning*, 2018, chapter 7.4.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES, Panel
from core.errors import BadInputError, IntegrityError
from training.costs import quote_panel
from training.parameters import LabelParameters

SHORT, FLAT, LONG = range(len(CLASSES))
VOLATILITY_DECAY = 0.94  # RiskMetrics Technical Document, 1996, daily data
VOLATILITY_STEPS = 30  # squared returns before the estimate counts
MOMENTUM_STEPS = 20


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


@numba.njit(cache=True)
def _label_series(  # pragma: no cover - compiled
    middle: NDArray[np.float64],
    half: NDArray[np.float64],
    slippage: float,
    commission: float,
    horizon: int,
    edge: float,
    decay: float,
    warm: int,
    trail: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8], NDArray[np.float64]]:
    """Label the gapless series of one instrument.

    Args:
        middle: float64 [n], no NaN.

    Returns:
        Start index, end index and class of each labelled bar, and float64 [n, 7]: net long, net short, round-trip cost,
        cost of one side, next step's return, volatility, trailing return.
    """
    n = len(middle)
    count = max(n - horizon, 0)
    start = np.arange(count)
    end = start + horizon
    label = np.empty(count, np.int8)
    out = np.full((count, 7), np.nan)
    variance = 0.0
    seen = 0
    for t in range(count):
        if t > 0:
            squared = np.log(middle[t] / middle[t - 1]) ** 2
            # The plain mean until the window is full: an exponential start would lean on the first return.
            seen += 1
            weight = max(1.0 - decay, 1.0 / seen)
            variance += weight * (squared - variance)
        e = t + horizon
        move = middle[e] - middle[t]
        cost = half[t] + half[e] + 2.0 * slippage + commission * (middle[t] + middle[e])
        label[t] = 2 if move > edge * cost else (0 if -move > edge * cost else 1)
        out[t, 0] = (move - cost) / middle[t]
        out[t, 1] = (-move - cost) / middle[t]
        # What is known at the decision: today's spread on both sides.
        out[t, 3] = (half[t] + slippage) / middle[t] + commission
        out[t, 2] = 2.0 * out[t, 3]
        out[t, 4] = middle[t + 1] / middle[t] - 1.0
        if seen >= warm:
            out[t, 5] = np.sqrt(variance)
        if t >= trail:
            out[t, 6] = middle[t] / middle[t - trail] - 1.0
    return start, end, label, out


def make_labels(panel: Panel, costs: Mapping[str, Any], parameters: LabelParameters, cutoff_ns: int) -> Labels:
    """Label every bar whose whole label lies before the holdout.

    The panel is cut before anything is computed, so that no holdout price can enter a label.

    Raises:
        BadInputError: nothing can be labelled, or a modelled spread is missing.
        IntegrityError: a label reaches into the holdout.
    """
    if parameters.horizon < 1:
        raise BadInputError(f"labels.horizon must be at least 1, not {parameters.horizon}")
    known = panel.between(int(panel.time_ns[0]) if len(panel.time_ns) else 0, cutoff_ns)
    quotes = quote_panel(known, costs)
    moment = decision_moments(known)
    parts: list[tuple[NDArray[Any], ...]] = []
    for index in range(len(known.instruments)):
        bars = np.flatnonzero(~np.isnan(quotes.middle[:, index]))
        start, end, label, values = _label_series(
            np.ascontiguousarray(quotes.middle[bars, index]),
            np.ascontiguousarray(quotes.half_spread[bars, index]),
            quotes.slippage[index],
            quotes.commission,
            parameters.horizon,
            parameters.minimum_edge,
            VOLATILITY_DECAY,
            VOLATILITY_STEPS,
            MOMENTUM_STEPS,
        )
        here = bars[start]
        parts.append((here, np.full(len(start), index), moment[here], known.time_ns[bars[end]], label, values, start))
    step, instrument, arrival, ends, label, values, bar = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    if not len(step):
        raise BadInputError(
            f"no bar before the holdout can be labelled: {len(known.time_ns)} times, horizon {parameters.horizon}"
        )
    order = np.lexsort((instrument, step))
    order = order[distinct_moments(moment)[step[order]]]
    if not len(order):
        raise BadInputError("no step was known before the next one: the catalog holds a backfill's arrival times")
    step, instrument, values = step[order], instrument[order], values[order]
    labels = Labels(
        step, instrument, known.time_ns[step], arrival[order], ends[order], label[order],
        values[:, 0], values[:, 1], values[:, 2], values[:, 3], values[:, 4], values[:, 5], values[:, 6],
        bar[order], known.instruments,
    )  # fmt: skip
    assert_before_holdout(labels.time_ns, labels.label_end_ns, cutoff_ns)
    return labels


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
