"""What a search found: the front, the choice, and what may be believed of it, as plain values."""

from collections.abc import Mapping
from typing import Any

from core.errors import BadInputError
from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.search import Searched
from training.search.hyperparameters.stopping import front
from training.search.hyperparameters.study import Slot
from training.trials import TrialRecord

_DIGITS = 6  # of a found value in the patch: more only look exact


def chosen_slot(searched: Searched, choose: int | None) -> Slot | None:
    """Return the slot to take: the named trial, else the best by the first objective; None where none completed.

    Raises:
        BadInputError: the named trial is none that completed.
    """
    if choose is not None:
        for slot in searched.slots:
            if slot.outcome == "complete" and slot.number == choose:
                return slot
        raise BadInputError(f"study {searched.prepared.name} has no completed trial {choose}: choose one of its front")
    best = front(searched.slots, searched.prepared.parameters.objectives)
    return best[0] if best else None


def rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return found values with so many digits as a person would write."""
    return {
        name: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
        for name, value in sorted(found.items())
    }


def summarise(searched: Searched, rows: Mapping[int, TrialRecord], chosen: Slot | None) -> dict[str, Any]:
    """Return the result as plain JSON: every number stands beside the id of its row in the ledger.

    Args:
        searched: the search.
        rows: of the study in the trial ledger, by number.
        chosen: the slot taken.
    """
    prepared = searched.prepared
    names = prepared.parameters.objectives
    outcomes: dict[str, int] = {}
    for slot in searched.slots:
        outcomes[slot.outcome] = outcomes.get(slot.outcome, 0) + 1
    statuses: dict[str, int] = {}
    for row in rows.values():
        statuses[str(row.status)] = statuses.get(str(row.status), 0) + 1
    result: dict[str, Any] = {
        "study": prepared.name,
        "model": prepared.space.model,
        "objectives": [
            {"name": name, "direction": OBJECTIVES[name].direction, "unit": OBJECTIVES[name].unit} for name in names
        ],
        "space": {d.name: d.words for d in prepared.space.dimensions},
        "stopped": searched.stopped,
        "slots": len(searched.slots),
        "outcomes": dict(sorted(outcomes.items())),
        "trials": sum(len(slot.numbers) for slot in searched.slots),
        "ledger_rows": len(rows),
        "ledger_statuses": dict(sorted(statuses.items())),
        "retried": sum(len(slot.numbers) - 1 for slot in searched.slots),
        "seconds_used": round(searched.seconds, 1),
        "seed": prepared.seed,
        "identity": prepared.identity,
        "front": [_entry(slot, rows) for slot in front(searched.slots, names)],
        "best": _entry(chosen, rows) if chosen is not None else None,
        "failures": [
            {"number": slot.number, "reason": slot.reason}
            for slot in searched.slots
            if slot.outcome not in ("complete", "pruned")
        ],
    }
    result["words"] = _words(searched, result, chosen)
    return result


def _entry(slot: Slot, rows: Mapping[int, TrialRecord]) -> dict[str, Any]:
    row = rows.get(slot.number)
    return {
        "number": slot.number,
        "row": row.id if row is not None else slot.row,
        "parameters": rounded(slot.proposed),
        "values": dict(sorted(slot.values.items())),
        "fold_losses": [fold.loss for fold in row.folds] if row is not None else [],
    }


def _words(searched: Searched, result: Mapping[str, Any], chosen: Slot | None) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in result["outcomes"].items())
    said = f"{result['slots']} trials of {result['model']} ({counts}), {result['ledger_rows']} rows in the ledger"
    if result["retried"]:
        said += f", {result['retried']} of them lost and tried again"
    said += f"; {searched.stopped}." if searched.stopped else "."
    if chosen is None:
        return f"{said} No trial completed: there is nothing to choose."
    values = ", ".join(
        f"{name} {OBJECTIVES[name].shown(chosen.values[name])}" for name in searched.prepared.parameters.objectives
    )
    return (
        f"{said} Best is trial {chosen.number}: {values}. It is the best of {result['outcomes'].get('complete', 0)} "
        "on the rows that chose it, and so looks better than it is; the gate deflates it by the whole ledger."
    )
