"""From a panel to labels: every instrument's own bars through the compiled kernel of the chosen kind."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain import Panel, default_instrument
from core.errors import BadInputError
from training.costs import Quotes, quote_panel
from training.label_parameters import LabelParameters
from training.labels.fixed_horizon import fixed_horizon
from training.labels.quoted_path import quoted_path
from training.labels.rows import Labels, Outcomes, assert_before_holdout, decision_moments, distinct_moments
from training.labels.triple_barrier import triple_barrier

VOLATILITY_DECAY = 0.94  # RiskMetrics Technical Document, 1996, daily data
VOLATILITY_STEPS = 30  # squared returns before the estimate counts
MOMENTUM_STEPS = 20


def make_labels(panel: Panel, costs: Mapping[str, Any], parameters: LabelParameters, cutoff_ns: int) -> Labels:
    """Label every bar whose whole label lies before the holdout.

    The panel is cut before anything is computed, so that no holdout price can enter a label. A bar whose horizon
    reaches into the holdout gets none even where a barrier was met before: only the short-lived of its kind would
    be known there. For ``meta_labels`` the classes are still those of both sides (``sides`` picks one once the
    features are joined).

    Raises:
        BadInputError: nothing can be labelled, or a modelled spread is missing.
        IntegrityError: a label reaches into the holdout.
    """
    if parameters.horizon < 1:
        raise BadInputError(f"labels.horizon must be at least 1, not {parameters.horizon}")
    known = panel.between(int(panel.time_ns[0]) if len(panel.time_ns) else 0, cutoff_ns)
    quotes = quote_panel(known, costs)
    moment = decision_moments(known)
    barriers = parameters.kind != "fixed_horizon"
    parts: list[tuple[NDArray[Any], ...]] = []
    for index in range(len(known.instruments)):
        bars = np.flatnonzero(~np.isnan(quotes.middle[:, index]))
        start, end, label, values = fixed_horizon(
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
        part = (here, np.full(len(start), index), moment[here], known.time_ns[bars[end]], label, values, start)
        parts.append((*part, *_barriers(known, quotes, index, bars, values, parameters)) if barriers else part)
    step, instrument, arrival, ends, label, values, bar, *touched = (
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
    outcomes, end_bar = None, None
    if barriers:
        label, last, last_ns, net, how = touched
        order = order[last[order, 0] >= 0]
        if not len(order):
            raise BadInputError(
                f"no bar has a barrier: before {VOLATILITY_STEPS} returns of an instrument are seen its volatility is "
                "unknown; ingest a longer history or set labels.barriers.unit to pips"
            )
        # Both trades went into the class, so the label ends where the longer one did.
        end_bar, ends = last.max(axis=1)[order], last_ns.max(axis=1)
        values[:, :2] = net
        outcomes = _outcomes(last[order], last_ns[order], how[order])
    step, instrument, values = step[order], instrument[order], values[order]
    labels = Labels(
        step, instrument, known.time_ns[step], arrival[order], ends[order], label[order],
        values[:, 0], values[:, 1], values[:, 2], values[:, 3], values[:, 4], values[:, 5], values[:, 6],
        bar[order], known.instruments, end_bar, outcomes,
    )  # fmt: skip
    assert_before_holdout(labels.time_ns, labels.label_end_ns, cutoff_ns)
    return labels


def _barriers(
    panel: Panel,
    quotes: Quotes,
    index: int,
    bars: NDArray[np.int64],
    values: NDArray[np.float64],
    parameters: LabelParameters,
) -> tuple[NDArray[Any], ...]:
    """Return class, last bars [count, 2], their times, net returns and how the trades of an instrument ended."""
    options = parameters.barriers
    middle = np.ascontiguousarray(quotes.middle[bars, index])
    count = len(values)
    if options.unit == "pips":
        distance = np.full(count, float(default_instrument(panel.instruments[index]).pip))
    else:
        # Of the return over the whole horizon, as the trader's own stops and targets are.
        distance = values[:, 5] * np.sqrt(parameters.horizon) * middle[:count]
    bid, ask = quoted_path(panel, quotes, index, bars)
    label, last, net, how = triple_barrier(
        middle,
        np.ascontiguousarray(quotes.half_spread[bars, index]),
        bid,
        ask,
        np.ascontiguousarray(distance),
        options.take_profit or np.inf,
        options.stop_loss or np.inf,
        quotes.slippage[index],
        quotes.commission,
        parameters.horizon,
        parameters.minimum_edge,
    )
    return label, last, panel.time_ns[bars[last]] if len(bars) else last, net, how


def _outcomes(last: NDArray[np.int64], last_ns: NDArray[np.int64], how: NDArray[np.int8]) -> Outcomes:
    return Outcomes(
        how[:, 2].astype(np.bool_),
        how[:, 3].astype(np.bool_),
        how[:, 0],
        how[:, 1],
        last[:, 0],
        last[:, 1],
        last_ns[:, 0],
        last_ns[:, 1],
    )
