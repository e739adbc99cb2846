"""The one look at the unseen span: the hall of fame, backtested on days that nothing before it was computed on.

The ledger remembers the look. A study that had it is closed, and other studies on the same data count it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.search.strategy.backtests import run_window
from training.search.strategy.objectives import NAMES, measure
from training.search.strategy.parameters import Budget
from training.search.strategy.space import Values
from training.trials import Draft, Status, TrialLedger

if TYPE_CHECKING:
    from training.search.strategy.study import Study

UNSEEN = "unseen"  # the span of a row's backtest; see ``recorder.RESEARCH``

Validated = tuple[str, NDArray[np.int64], NDArray[np.float64], dict[str, float]]


def validated(ledger: TrialLedger, lineage: str, study: str) -> Budget | None:
    """Return the budget with which a study looked at its unseen span, None where it did not.

    A look that was killed on the way counts: its row was begun.
    """
    for record in ledger.trials(lineage=lineage, study=study, kind="backtest"):
        if record.parameters.get("span") == UNSEEN:
            return msgspec.convert(record.parameters["budget"], Budget)
    return None


def looks_at(ledger: TrialLedger, lineage: str, first_ns: int) -> list[str]:
    """Return the studies that looked at days from ``first_ns`` on as their unseen span, in the order they began."""
    found: dict[str, None] = {}
    for record in ledger.trials(lineage=lineage, kind="backtest"):
        if record.parameters.get("span") == UNSEEN and int(record.parameters.get("last_ns", 0)) >= first_ns:
            found.setdefault(record.study)
    return list(found)


def unseen_span(study: "Study") -> tuple[int, int]:
    """Return the times of the first and the last day of the unseen span."""
    days = study.history.days
    return int(days.end_ns[study.history.cut]), int(days.end_ns[-1])


def validate(study: "Study", ledger: TrialLedger, members: Sequence[Values], trials: Sequence[str]) -> list[Validated]:
    """Backtest the hall of fame on the unseen span, once: what is on record is read, not run again.

    Returns:
        Row, times, daily returns and figures of each member.
    """
    history, space, study_name = study.history, study.candidates.space, study.name
    known = {
        tuple(float(record.parameters["rule"][name]) for name in space.names): record.id
        for record in ledger.trials(lineage=study.lineage, study=study_name, kind="backtest", status=Status.COMPLETED)
        if record.parameters.get("span") == UNSEEN
    }
    missing = [place for place, values in enumerate(members) if values not in known]
    if missing:
        first_ns, last_ns = unseen_span(study)
        drafts = [
            Draft(
                {
                    "rule": space.named(members[place]),
                    "span": UNSEEN,
                    "phase": "validation",
                    "first_ns": first_ns,
                    "last_ns": last_ns,
                    "trial": trials[place],
                    "budget": msgspec.to_builtins(study.parameters.budget),
                },
                study.seed,
                place,
            )
            for place in missing
        ]
        with ledger.batch(
            study_name,
            "backtest",
            study.parameters.rule,
            study.lineage,
            drafts,
            study.digests["code"],
            data_digest=study.digests["data"],
        ) as batch:
            market = history.market(history.panel)
            window = (history.cut, len(history.days))
            chosen = [members[place] for place in missing]
            result = run_window(market, history.days, window, history, study.candidates, chosen)
            figures = measure(result)
            for row in range(len(missing)):
                batch.complete(
                    row,
                    dict(zip(NAMES, figures[row].tolist(), strict=True)),
                    result.daily[row],
                    history.days.end_ns[history.cut :],
                )
        known |= {members[place]: trial for place, trial in zip(missing, batch.ids, strict=True)}
    records = {record.id: record for record in ledger.trials(ids=[known[values] for values in members])}
    answer: list[Validated] = []
    for values in members:
        times, matrix = ledger.returns([known[values]])
        answer.append((known[values], times, matrix[:, 0], records[known[values]].values))
    return answer
