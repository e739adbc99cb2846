"""Which bars a backtest is on, and what a model knew of them: a result on bars it was trained on proves nothing."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.clock import to_datetime
from core.domain import Panel
from core.errors import BadInputError
from serving.release.evidence import Manifest

IN_SAMPLE, BEFORE, AFTER, HOLDOUT, RULE = "in_sample", "before_training", "out_of_sample", "holdout", "not_trained"
WORDS = {
    IN_SAMPLE: "IN-SAMPLE: the model was fitted on these bars; the result says nothing about the future",
    BEFORE: "BEFORE TRAINING: not fitted on these bars, but calibrated and chosen on them, and fitted on later ones; "
    "not out of sample",
    AFTER: "OUT OF SAMPLE: after everything the model was fitted on",
    HOLDOUT: "HOLDOUT: never seen by training or search; each look at it wears it out, and this one is on record",
    RULE: "NOT TRAINED: a rule is not fitted, but its parameters may have been searched on these bars",
}


class Part(msgspec.Struct, frozen=True):
    """Rows ``first`` to ``last`` (exclusive) of the range, and what they are to the subject."""

    kind: str
    first: int
    last: int
    start_ns: int
    end_ns: int  # time of the last row

    @property
    def words(self) -> str:
        """What the part is, in a sentence."""
        return WORDS[self.kind]


@dataclass(frozen=True)
class Scope:
    """The range as rows of a panel.

    Attributes:
        first, last: rows of the panel, half-open.
        cutoff_ns: first time of the holdout.
        warm_up: bars every instrument has before the range.
        notes: what was cut off and why.
    """

    first: int
    last: int
    cutoff_ns: int
    warm_up: int
    notes: tuple[str, ...]


def find_scope(
    panel: Panel,
    holdout: dict[str, Any],
    start_ns: int | None,
    end_ns: int | None,
    with_holdout: bool,
    warm_up: int,
) -> Scope:
    """Find the rows with ``start_ns <= time < end_ns``.

    Args:
        panel: all bars of the catalog.
        holdout: ``data.holdout`` of ``params.yaml``.
        start_ns: None for the first row that is warm.
        end_ns: None for the holdout, or with it the end of the data.
        with_holdout: whether the holdout may be scored.
        warm_up: bars every instrument must have before the first row.

    Raises:
        BadInputError: the range is empty, outside of the data, before the warm-up, or reaches into the holdout unasked.
    """
    from data.holdout import cutoff_ns

    times = panel.time_ns
    cutoff = cutoff_ns(times, holdout)
    data = f"the data reach from {_day(times[0])} to {_day(times[-1])}"
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise BadInputError(f"the range from {_day(start_ns)} to {_day(end_ns)} is empty: give a start before its end")
    if (start_ns is not None and start_ns > times[-1]) or (end_ns is not None and end_ns <= times[0]):
        raise BadInputError(f"no bar in the range: {data}")
    warm = _warm_row(panel, warm_up)
    if warm is None:
        raise BadInputError(f"{data}: fewer bars than the {warm_up} that an instrument needs before the first one")
    notes: list[str] = []
    if start_ns is None:
        first = warm
    elif start_ns < times[0] and _day(start_ns) != _day(times[0]):
        raise BadInputError(f"the range begins on {_day(start_ns)}, but {data}: begin on {_day(times[warm])} or later")
    else:
        first = int(np.searchsorted(times, start_ns))
        if first < warm:
            raise BadInputError(
                f"the range begins on {_day(start_ns)}, but every instrument needs {warm_up} bars before it: begin on "
                f"{_day(times[warm])} or later"
            )
    if end_ns is None:
        end_ns = int(times[-1]) + 1 if with_holdout else cutoff
    elif end_ns > times[-1] + 1:
        notes.append(f"The range was asked for until {_day(end_ns)}; {data}.")
    last = int(np.searchsorted(times, end_ns))
    if last - first < 2:
        raise BadInputError(f"{max(last - first, 0)} bars in the range, at least 2 are needed: {data}")
    if not with_holdout and times[last - 1] >= cutoff:
        raise BadInputError(
            f"the range reaches into the holdout, which begins on {_day(cutoff)}: end there, or say --holdout; that "
            "look at it is kept in the trial ledger"
        )
    return Scope(first, last, cutoff, int((~np.isnan(panel.values[:first, :, 3])).sum(axis=0).min()), tuple(notes))


def find_parts(times: NDArray[np.int64], cutoff_ns: int, manifest: Manifest | None) -> tuple[Part, ...]:
    """Cut the rows of a range into what they are to the model (or the rule), in the order of time."""
    kinds = np.where(times >= cutoff_ns, HOLDOUT, AFTER if manifest else RULE).astype(object)
    if manifest is not None:
        kinds[times < manifest.train_start_ns] = BEFORE
        # Labels of the last training rows end at ``train_end_ns``: what lies up to there went into the fit.
        kinds[(times >= manifest.train_start_ns) & (times <= manifest.train_end_ns)] = IN_SAMPLE
    edges = [0, *(np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist(), len(times)]
    return tuple(
        Part(str(kinds[low]), low, high, int(times[low]), int(times[high - 1])) for low, high in pairwise(edges)
    )


def _warm_row(panel: Panel, warm_up: int) -> int | None:
    """Return the first row before which every instrument has so many bars."""
    if not warm_up:
        return 0
    count = np.cumsum(~np.isnan(panel.values[:, :, 3]), axis=0).min(axis=1)
    row = int(np.searchsorted(count, warm_up)) + 1
    return row if row < len(count) else None


def _day(time_ns: Any) -> str:
    return f"{to_datetime(int(time_ns)):%Y-%m-%d}"
