"""After the search: the plateau of the best, their one validation on the unseen span, the evidence and the result.

Every figure is computed from rows of the trial ledger, which is read again for it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import RefusedError
from training.evidence.record import Recorded, read_record
from training.evidence.search import search_evidence
from training.search.strategy.evidence import DRAWS, days_a_year, judge, performance
from training.search.strategy.evolve import Search
from training.search.strategy.objectives import NAMES, column
from training.search.strategy.outcome import FoldChoice, Ledger, Member, Outcome, Performance, Span
from training.search.strategy.plateau import PlateauResult, check_plateau
from training.search.strategy.recorder import Recorder
from training.search.strategy.report import Paths, write_result
from training.search.strategy.space import Values
from training.search.strategy.state import Assessment, result_digest
from training.search.strategy.validation import Validated, looks_at, unseen_span, validate
from training.search.strategy.windows import Days
from training.trials import TrialLedger

if TYPE_CHECKING:
    from training.search.strategy.study import Study

_PLATEAU, _STATISTICS = 1, 2  # places in the seed's stream


def conclude(study: "Study", ledger: TrialLedger, search: Search, recorder: Recorder) -> Outcome:
    """Finish a study whose search has stopped, and write its result.

    Raises:
        RefusedError: no parameter set of the final fold trades enough.
    """
    given, state, final = study.parameters, search.state, len(study.history.folds) - 1
    best = search.choose(final)[: given.hall_of_fame]
    if not best:
        raise RefusedError(
            f"study {study.name}: none of {state.trials} parameter sets makes {given.minimum_trades} trades in the "
            "final training window: lower search.strategy.minimum_trades or widen the space"
        )
    plateaus = _plateaus(study, search, recorder, best)
    winner = next((place for place, found in enumerate(plateaus) if found.holds), 0)
    looks = [name for name in looks_at(ledger, study.lineage, unseen_span(study)[0]) if name != study.name]
    members = [state.values[index] for index in best]
    validation = validate(study, ledger, members, [state.assessments[index].trial for index in best])
    walk, folds = _walk_forward(study, ledger, search)
    record = read_record(ledger, study.lineage, state.assessments[best[winner]].trial)
    own = ledger.returns([state.assessments[best[winner]].trial])
    place = np.searchsorted(own[0], record.times_ns)
    evidence = search_evidence(
        own[1][place, 0],
        record.matrix,
        record.record.trials,
        days_a_year(record.times_ns),
        DRAWS,
        study.seed + _STATISTICS,
    )
    path = performance(walk[0], walk[1], [fold.trial for fold in folds if fold.trial], study.seed + _STATISTICS)
    fame = [
        _member(study, state.assessments[index], members[number], plateaus, number, validation[number])
        for number, index in enumerate(best)
    ]
    unseen = fame[winner].validation
    assert unseen is not None
    verdict = judge(given, study.policy, plateaus[winner].share, path, unseen, evidence, record.record.gaps)
    history = study.history
    outcome = Outcome(
        study=study.name,
        rule=given.rule,
        market=study.market,
        instruments=history.panel.instruments,
        lineage=study.lineage,
        digests=study.digests,
        seed=study.seed,
        parameters=msgspec.to_builtins(given),
        research=_span(history.days, 0, history.cut),
        unseen=_span(history.days, history.cut, len(history.days)),
        generations=state.generation,
        trials=state.trials,
        stopped=state.stopped,
        digest=result_digest(state),
        folds=tuple(folds),
        walk_forward=path,
        hall_of_fame=tuple(fame),
        winner=winner,
        evidence=evidence,
        verdict=verdict,
        words=_words(study, verdict.passed, [rule.rule for rule in verdict.rules if not rule.passed], path, unseen),
        ledger=_ledger(record, len(looks)),
        history=tuple(state.history),
    )
    paths = Paths(walk, tuple((times, returns) for _, times, returns, _ in validation))
    write_result(study.folder, outcome, given, study.candidates.space, state, plateaus, paths)
    return outcome


def _plateaus(study: "Study", search: Search, recorder: Recorder, best: Sequence[int]) -> list[PlateauResult]:
    """Check the neighbourhoods from the best one on, until one holds."""
    state, choice = search.state, column(study.parameters.choose_by)
    found: list[PlateauResult] = []
    for number, index in enumerate(best):
        trial = state.assessments[index].trial

        def evaluate(around: Sequence[Values], parent: str = trial) -> list[Assessment]:
            return recorder.assess(around, {"phase": "plateau"}, parent)

        found.append(
            check_plateau(
                study.candidates.space,
                state.values[index],
                state.assessments[index].train[-1][choice],
                study.parameters.plateau,
                study.seed + 1000 * _PLATEAU + number,
                evaluate,
                choice,
            )
        )
        if found[-1].holds:
            break
    return found


def _walk_forward(
    study: "Study", ledger: TrialLedger, search: Search
) -> tuple[tuple[NDArray[np.int64], NDArray[np.float64]], list[FoldChoice]]:
    """Return the walk-forward path and what each fold chose; one that could choose nothing stays out of the market."""
    state, days, space = search.state, study.history.days, study.candidates.space
    islands = study.parameters.evolution.islands
    times: list[NDArray[np.int64]] = []
    returns: list[NDArray[np.float64]] = []
    folds: list[FoldChoice] = []
    for fold in study.history.folds:
        if fold.test is None:
            continue
        here = days.end_ns[fold.test[0] : fold.test[1]]
        ranked = search.choose(fold.number)
        tried = {i for place in range(fold.number * islands, (fold.number + 1) * islands) for i in state.tried[place]}
        values: dict[str, float] = {}
        trial, inside, outside, path = "", dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0), np.zeros(len(here))
        if ranked:
            chosen = state.assessments[ranked[0]]
            stored, matrix = ledger.returns([chosen.trial])
            path = matrix[np.searchsorted(stored, here), 0]
            values, trial = space.named(state.values[ranked[0]]), chosen.trial
            inside = dict(zip(NAMES, chosen.train[fold.number], strict=True))
            outside = dict(zip(NAMES, chosen.test[fold.number], strict=True))
        times.append(here)
        returns.append(path)
        folds.append(
            FoldChoice(
                fold.number,
                _span(days, *fold.train),
                _span(days, *fold.test),
                values,
                trial,
                inside,
                outside,
                len(tried),
            )
        )
    return (np.concatenate(times), np.concatenate(returns)), folds


def _member(
    study: "Study",
    assessment: Assessment,
    values: Values,
    plateaus: Sequence[PlateauResult],
    number: int,
    validation: Validated,
) -> Member:
    trial, times, returns, figures = validation
    plateau = plateaus[number] if number < len(plateaus) else None
    shown: Performance = performance(times, returns, [trial], study.seed + _STATISTICS)
    return Member(
        study.candidates.space.named(values),
        assessment.trial,
        dict(zip(NAMES, assessment.train[-1], strict=True)),
        None if plateau is None else plateau.share,
        0 if plateau is None else len(plateau.neighbours),
        shown,
        figures,
    )


def _ledger(record: Recorded, looks: int) -> Ledger:
    found = record.record
    return Ledger(found.trials, found.by_status, len(found.used), found.gaps, found.rows_digest, record.head, looks)


def _span(days: Days, first: int, last: int) -> Span:
    return Span(int(days.end_ns[first]), int(days.end_ns[last - 1]), last - first)


def _words(study: "Study", passed: bool, failed: Sequence[str], path: Performance, unseen: Performance) -> str:
    def said(item: Any) -> str:
        return f"{item.value:+.2f} ({item.low:+.2f} to {item.high:+.2f})"

    found = (
        f"over {path.span.days} walk-forward days the choices of {study.parameters.rule} have a Sharpe ratio of "
        f"{said(path.sharpe)} after cost, and the winner {said(unseen.sharpe)} on {unseen.span.days} unseen days"
    )
    if passed:
        return f"Every rule passed: {found}."
    return f"Refused ({', '.join(failed)}): {found}."
