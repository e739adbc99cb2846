"""How far a search is, for whoever watches."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.parameters import SearchParameters
from training.search.hyperparameters.stopping import front
from training.search.hyperparameters.study import Slot


@dataclass(frozen=True)
class SearchProgress:
    """A moment of a search. ``seconds_left`` is None while nothing can be said about it."""

    study: str
    ended: int
    trials: int | None
    running: int
    outcomes: dict[str, int]
    retried: int
    best_number: int | None
    best: dict[str, float]
    seconds_used: float
    seconds_left: float | None
    event: str = ""

    @property
    def share(self) -> float:
        """Share of the budget that is used, in [0, 1]."""
        if self.seconds_left is None:
            return 0.0
        whole = self.seconds_used + self.seconds_left
        return min(1.0, self.seconds_used / whole) if whole > 0 else 1.0

    @property
    def words(self) -> str:
        """The moment in one line."""
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        budget = f" of {self.trials}" if self.trials is not None else ""
        best = ", ".join(f"{name} {OBJECTIVES[name].shown(value)}" for name, value in self.best.items())
        parts = [
            f"{self.ended}{budget} trials ended" + (f" ({counts})" if counts else ""),
            f"best {best} (trial {self.best_number})" if self.best_number is not None else "no result yet",
            f"{self.running} running",
        ]
        if self.retried:
            parts.append(f"{self.retried} lost and tried again")
        if self.seconds_left is not None:
            parts.append(f"about {_time(self.seconds_left)} left")
        return "; ".join(([self.event] if self.event else []) + parts)


def progress_of(
    study: str,
    parameters: SearchParameters,
    slots: Sequence[Slot],
    running: int,
    seconds: float,
    pace: tuple[int, float],
    event: str,
) -> SearchProgress:
    """Describe a moment of a search.

    Args:
        study: its name.
        parameters: of the search.
        slots: all asked so far.
        running: trials that workers are at.
        seconds: of searching over all runs.
        pace: trials that ended in this run, and its seconds.
        event: what just happened.
    """
    outcomes: dict[str, int] = {}
    for slot in slots:
        if slot.outcome:
            outcomes[slot.outcome] = outcomes.get(slot.outcome, 0) + 1
    ended = sum(outcomes.values())
    best = front(slots, parameters.objectives)[:1]
    left: list[float] = []
    if parameters.trials is not None and pace[0]:
        left.append((parameters.trials - ended) * pace[1] / pace[0])
    if parameters.minutes is not None:
        left.append(max(60.0 * parameters.minutes - seconds, 0.0))
    return SearchProgress(
        study=study,
        ended=ended,
        trials=parameters.trials,
        running=running,
        outcomes=outcomes,
        retried=sum(len(slot.numbers) - 1 for slot in slots),
        best_number=best[0].number if best else None,
        best={name: best[0].values[name] for name in parameters.objectives} if best else {},
        seconds_used=seconds,
        seconds_left=min(left) if left else None,
        event=event,
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
