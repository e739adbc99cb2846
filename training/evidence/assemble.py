"""One candidate's evidence, section by section."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import BadInputError
from training.dataset import Dataset
from training.evidence.bundle import Bundle, FoldPlan, ModelFacts
from training.evidence.calibration import calibration_of
from training.evidence.candidate import Candidate
from training.evidence.champion import Comparison
from training.evidence.drift import drift_at_cutoff
from training.evidence.paths import CANDIDATE, EquityPath, equity_path
from training.evidence.record import LedgerRecord, Recorded
from training.evidence.robustness import MULTIPLES, capacity, cost_stress, regimes
from training.evidence.search import SearchEvidence, search_evidence
from training.evidence.sources import Sources
from training.leaks import LeakReport
from training.parameters import Parameters
from training.splits import Split

# Net returns of the same decisions, once by the ledger and once by the evaluation, agree to rounding.
_SAME_RETURNS = 1e-9


@dataclass(frozen=True)
class Given:
    """What an evaluation hands over: its own content and what only its surroundings know."""

    content: Mapping[str, Any]  # of ``evaluate``
    recorded: Recorded | None = None
    leaks: LeakReport | None = None
    sources: Sources | None = None
    model: ModelFacts | None = None
    champion: Comparison | None = None
    paths: tuple[EquityPath, ...] = ()  # of the champion and of baselines; the candidate's is added
    notes: tuple[str, ...] = ()


def assemble(candidate: Candidate, parameters: Parameters, given: Given, stress: float | None = None) -> Bundle:
    """Put the evidence about a candidate together.

    Args:
        candidate: the model on its unseen rows.
        parameters: of the run.
        given: what was found elsewhere.
        stress: a further multiple of the cost that the policy asks for.
    """
    multiples = tuple(sorted({*MULTIPLES, stress if stress is not None else MULTIPLES[0]}))
    record, search, notes = _search(candidate, parameters, given)
    content, dataset = given.content, candidate.dataset
    return Bundle(
        market=parameters.market,
        candidate=candidate.name,
        seed=parameters.seed,
        cutoff_ns=dataset.cutoff_ns,
        steps_per_year=candidate.sizing.steps_per_year,
        sources=given.sources,
        folds=tuple(_plan(dataset, fold) for fold in candidate.folds),
        reference=content["reference"],
        result=dict(content["models"][candidate.name]),
        baselines={name: dict(entry) for name, entry in content["baselines"].items()},
        record=record,
        search=search,
        stress=cost_stress(candidate, multiples),
        capacity=capacity(candidate, parameters.raw.get("execution") or {}),
        regimes=regimes(candidate),
        drift=drift_at_cutoff(dataset),
        leaks=given.leaks,
        champion=given.champion,
        model=given.model,
        notes=(*given.notes, *notes),
        calibration=calibration_of(candidate, parameters.evaluation.calibration_bins),
        paths=(
            equity_path(candidate.name, CANDIDATE, candidate.positions.time_ns, candidate.performance),
            *given.paths,
        ),
    )


def _plan(dataset: Dataset, fold: Split) -> FoldPlan:
    return FoldPlan(
        number=fold.number,
        train_rows=len(fold.train),
        train_start_ns=int(dataset.time_ns[fold.train].min()),
        train_end_ns=int(dataset.label_end_ns[fold.train].max()),
        test_rows=len(fold.test),
        test_start_ns=int(dataset.time_ns[fold.test].min()),
        test_end_ns=int(dataset.time_ns[fold.test].max()),
    )


def _search(
    candidate: Candidate, parameters: Parameters, given: Given
) -> tuple[LedgerRecord | None, SearchEvidence | None, tuple[str, ...]]:
    """Return the ledger's record and what follows from it; where nothing follows, the reason as a note."""
    if given.recorded is None:
        return None, None, ("no trial ledger: nothing can be said about the search",)
    recorded = given.recorded
    axis = candidate.positions.time_ns
    place = np.searchsorted(axis, recorded.times_ns)
    known = (place < len(axis)) & (axis[np.minimum(place, len(axis) - 1)] == recorded.times_ns)
    own = recorded.matrix[:, recorded.own]
    if not known.all() or np.abs(candidate.performance.net[place[known]] - own[known]).max(initial=0.0) > _SAME_RETURNS:
        note = f"trial {recorded.record.candidate} holds other returns than the evaluation finds: train it again"
        return recorded.record, None, (note,)
    options = parameters.evaluation
    try:
        search = search_evidence(
            own,
            recorded.matrix,
            recorded.record.trials,
            candidate.sizing.steps_per_year,
            options.bootstrap_draws,
            parameters.seed,
        )
    except BadInputError as error:
        return recorded.record, None, (error.message,)
    return recorded.record, search, ()
