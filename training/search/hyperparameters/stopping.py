"""When a search ends: its budget is used up, or it no longer gets better."""

from collections.abc import Sequence

import numpy as np

from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.parameters import SearchParameters
from training.search.hyperparameters.study import Slot


def gains(slot: Slot, objectives: Sequence[str]) -> tuple[float, ...]:
    """Return the objectives of a completed slot, more being better in each."""
    return tuple(OBJECTIVES[name].gain(slot.values[name]) for name in objectives)


def front(slots: Sequence[Slot], objectives: Sequence[str]) -> list[Slot]:
    """Return the completed slots that no other beats in one objective without losing in another, best first.

    With one objective that is the best slot. Of equal ones the earliest counts. The order is that of the first
    objective, then of the others.
    """
    completed = [slot for slot in slots if slot.outcome == "complete"]
    kept: list[Slot] = []
    for slot in sorted(completed, key=lambda s: ([-gain for gain in gains(s, objectives)], s.index)):
        mine = np.array(gains(slot, objectives))
        # Sorted, so only a slot that is kept already can be at least as good everywhere.
        if not any(bool(np.all(np.array(gains(other, objectives)) >= mine)) for other in kept):
            kept.append(slot)
    return kept


def since_better(slots: Sequence[Slot], objectives: Sequence[str]) -> int:
    """Return how many slots ended after the last one that was better than all before it, in the order they were asked.

    With several objectives better means: not matched in all of them by an earlier one.
    """
    seen: list[tuple[float, ...]] = []
    count = 0
    for slot in slots:
        count += 1
        if slot.outcome != "complete":
            continue
        mine = gains(slot, objectives)
        if not any(all(a >= b for a, b in zip(other, mine, strict=True)) for other in seen):
            count = 0
        seen.append(mine)
    return count


def reason_to_stop(parameters: SearchParameters, slots: Sequence[Slot], seconds: float) -> str | None:
    """Return in words why no further slot is asked for, or None.

    Args:
        parameters: budgets and patience.
        slots: all that were asked; those told count for the patience.
        seconds: of searching over all runs.
    """
    if parameters.trials is not None and len(slots) >= parameters.trials:
        return f"the budget of {parameters.trials} trials is used up"
    if parameters.minutes is not None and seconds >= 60.0 * parameters.minutes:
        return f"the budget of {parameters.minutes:g} minutes is used up"
    told: list[Slot] = []
    for slot in slots:
        if not slot.told:
            break
        told.append(slot)
    idle = since_better(told, parameters.objectives)
    if parameters.patience is not None and idle >= parameters.patience and any(s.outcome == "complete" for s in told):
        return f"{idle} trials in a row brought nothing better"
    return None
