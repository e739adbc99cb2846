"""A study as the coordinator sees it: slots of the budget, the attempts at each, and Optuna's proposals.

A *slot* is one unit of the budget: one set of parameters. It is asked of Optuna once; where the process that worked on
it died, the same parameters are tried again as a further Optuna trial of the same slot. So with a budget of n there
are n slots, and n trials and one more for every lost attempt.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from core.errors import BadInputError
from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.parameters import SearchParameters
from training.search.hyperparameters.space import Space
from training.search.hyperparameters.storage import open_storage
from training.search.hyperparameters.worker import Assignment

IDENTITY = "identity"
SECONDS = "seconds_used"
RETRY_OF, OUTCOME, REASON, SCORES, ROW, VALUES = "retry_of", "outcome", "reason", "scores", "row", "values"
LOST = "lost"


@dataclass
class Slot:
    """One unit of the budget. ``numbers`` are Optuna's trials, the last one counting; more is better in ``scores``."""

    index: int
    numbers: list[int] = field(default_factory=list[int])
    proposed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outcome: str = ""  # complete, pruned, failed or lost; empty while nothing is decided
    reason: str = ""
    row: str = ""  # id in the trial ledger
    scores: list[float] = field(default_factory=list[float])
    values: dict[str, float] = field(default_factory=dict[str, float])
    told: bool = False

    @property
    def number(self) -> int:
        """Optuna's number of the attempt that counts."""
        return self.numbers[-1]


class Study:
    """One Optuna study. Only the holder of its lease may use it.

    Args:
        database_url: the platform's database.
        name: of the study.
        identity: what must be the same when the study goes on: data, code, space, objectives.
        parameters: of the search.
        space: the searched parameters.
        seed: of the proposals.

    Raises:
        BadInputError: the study was begun on something else; the message names what differs.
        UnavailableError: the database does not answer.
    """

    def __init__(
        self,
        database_url: str,
        name: str,
        identity: Mapping[str, Any],
        parameters: SearchParameters,
        space: Space,
        seed: int,
    ) -> None:
        import optuna

        self.name = name
        self._parameters = parameters
        self._distributions = space.distributions()
        self._seed = seed
        directions: list[Literal["maximize", "minimize"]] = [OBJECTIVES[n].direction for n in parameters.objectives]
        self._storage = open_storage(database_url)
        existing = {summary.study_name for summary in optuna.get_all_study_summaries(self._storage, False)}
        if name in existing:
            self.optuna = optuna.load_study(study_name=name, storage=self._storage)
            self._compare(identity)
        else:
            self.optuna = optuna.create_study(study_name=name, storage=self._storage, directions=directions)
        if IDENTITY not in self.optuna.user_attrs:
            self.optuna.set_user_attr(IDENTITY, dict(identity))

    def _compare(self, identity: Mapping[str, Any]) -> None:
        before = self.optuna.user_attrs.get(IDENTITY)
        if before is None:  # killed between the making of the study and this
            return
        different = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
        if different:
            raise BadInputError(
                f"the study {self.name} was begun with another {', '.join(different)}: "
                "its results cannot be compared with new ones; choose another name with --study"
            )

    @property
    def seconds_used(self) -> float:
        """Seconds of searching over all runs so far."""
        return float(self.optuna.user_attrs.get(SECONDS, 0.0))

    def use(self, seconds: float) -> None:
        """Note the seconds of searching over all runs."""
        self.optuna.set_user_attr(SECONDS, seconds)

    def slots(self) -> list[Slot]:
        """Return all slots in the order they were asked, as Optuna's storage knows them."""
        from optuna.trial import TrialState

        slots: list[Slot] = []
        of_number: dict[int, Slot] = {}
        for trial in self.optuna.get_trials(deepcopy=False):
            retry_of = trial.user_attrs.get(RETRY_OF)
            slot = Slot(len(slots)) if retry_of is None else of_number[int(retry_of)]
            if retry_of is None:
                slots.append(slot)
            slot.numbers.append(trial.number)
            of_number[trial.number] = slot
            if trial.state == TrialState.WAITING:
                slot.proposed = dict(trial.system_attrs.get("fixed_params", {}))
            else:
                slot.proposed = dict(trial.params)
            attributes = trial.user_attrs
            slot.outcome = str(attributes.get(OUTCOME, "")) if trial.state.is_finished() else ""
            slot.told = trial.state.is_finished()
            slot.reason = str(attributes.get(REASON, ""))
            slot.row = str(attributes.get(ROW, ""))
            slot.scores = [float(score) for score in attributes.get(SCORES, [])]
            slot.values = {key: float(value) for key, value in attributes.get(VALUES, {}).items()}
        return slots

    def waiting(self) -> bool:
        """Whether a lost trial waits to be tried again."""
        from optuna.trial import TrialState

        return bool(self.optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def running(self) -> list[int]:
        """Return the numbers of trials that Optuna counts as running."""
        from optuna.trial import TrialState

        return [trial.number for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]

    def ask(self, slot: int) -> Assignment:
        """Ask for the parameters of a new slot, or take the first trial that waits to be tried again."""
        self._seed_sampler(slot)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self.optuna.ask(self._distributions)
        return Assignment(trial.number, dict(trial.params), trial.user_attrs.get(RETRY_OF))

    def again(self, number: int, slot: int) -> Assignment:
        """Return a trial that was asked for but never began, its parameters completed where a kill cut them short."""
        import optuna

        self._seed_sampler(slot)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = optuna.Trial(self.optuna, self._trial_id(number))
            for name, distribution in self._distributions.items():
                trial._suggest(name, distribution)  # pyright: ignore[reportPrivateUsage] - what ask() itself calls
        return Assignment(trial.number, dict(trial.params), trial.user_attrs.get(RETRY_OF))

    def score(self, number: int, scores: Sequence[float]) -> None:
        """Note the scores of a trial's folds so far, more being better."""
        trial_id = self._trial_id(number)
        self._storage.set_trial_user_attr(trial_id, SCORES, list(scores))
        if len(self._parameters.objectives) == 1:
            sign = OBJECTIVES[self._parameters.objectives[0]].gain(1.0)
            self._storage.set_trial_intermediate_value(trial_id, len(scores) - 1, sign * scores[-1])

    def tell(self, slot: Slot) -> None:
        """Tell Optuna what became of a slot. Repeating it is harmless."""
        from optuna.trial import TrialState

        trial_id = self._trial_id(slot.number)
        if self._storage.get_trial(trial_id).state.is_finished():
            slot.told = True
            return
        facts: dict[str, Any] = {OUTCOME: slot.outcome, REASON: slot.reason, ROW: slot.row, VALUES: slot.values}
        for key, value in facts.items():
            if value:
                self._storage.set_trial_user_attr(trial_id, key, value)
        if slot.outcome == "complete":
            self.optuna.tell(slot.number, [slot.values[name] for name in self._parameters.objectives])
        else:
            state = TrialState.PRUNED if slot.outcome == "pruned" else TrialState.FAIL
            self.optuna.tell(slot.number, state=state)
        slot.told = True

    def lose(self, slot: Slot, number: int, reason: str) -> bool:
        """Mark an attempt at a slot as lost and line its parameters up again; False when that was the last try.

        Idempotent: the new trial is made first, so that a kill in between leaves neither none nor two.
        """
        from optuna.trial import TrialState

        attempts = slot.numbers.index(number) + 1
        again = attempts <= self._parameters.retries
        if again and not any(t.user_attrs.get(RETRY_OF) == number for t in self.optuna.get_trials(deepcopy=False)):
            self.optuna.enqueue_trial(dict(slot.proposed), user_attrs={RETRY_OF: number})
        trial_id = self._trial_id(number)
        if not self._storage.get_trial(trial_id).state.is_finished():
            for key, value in ((OUTCOME, LOST), (REASON, reason), (ROW, slot.row)):
                if value:
                    self._storage.set_trial_user_attr(trial_id, key, value)
            self.optuna.tell(number, state=TrialState.FAIL)
        slot.scores = []
        if not again:
            slot.outcome, slot.reason, slot.told = LOST, f"{reason}; tried {attempts} times", True
        return again

    def close(self) -> None:
        """Let go of the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _trial_id(self, number: int) -> int:
        return int(
            self._storage.get_trial_id_from_study_id_trial_number(
                self.optuna._study_id,  # pyright: ignore[reportPrivateUsage]
                number,
            )
        )

    def _seed_sampler(self, slot: int) -> None:
        """Give the sampler the generator of this slot: a search that goes on draws what it would have drawn."""
        from optuna import samplers

        seed = int(np.random.SeedSequence([self._seed, slot]).generate_state(1)[0])
        p = self._parameters
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if p.sampler == "random":
                self.optuna.sampler = samplers.RandomSampler(seed=seed)
            elif p.sampler == "nsga2":
                self.optuna.sampler = samplers.NSGAIISampler(population_size=p.startup_trials, seed=seed)
            else:
                self.optuna.sampler = samplers.TPESampler(
                    n_startup_trials=p.startup_trials, multivariate=True, constant_liar=True, seed=seed
                )
