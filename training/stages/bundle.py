"""The evidence bundle of the chosen model, from what the workspace, the trial ledger and the registry hold."""

from pathlib import Path

from core.errors import BadInputError
from serving.release.evidence import MODEL_FILE, Manifest
from training.evaluation.report import Evaluation
from training.evidence import Bundle, Candidate, GatePolicy, Given, ModelFacts, assemble
from training.evidence.champion import Comparison, compare, find_champion
from training.evidence.paths import BASELINE, EquityPath, best_baseline, champion_path, equity_path
from training.evidence.record import Recorded, read_record
from training.evidence.sources import read_sources
from training.leaks import check_leaks
from training.models import model_folder
from training.package import TrainingReport
from training.registry import model_name
from training.stages.context import Context
from training.tracking import Tracker, study_name
from training.trials import Head, Status, TrialLedger
from training.trials.session import data_lineage, open_ledger
from training.walkforward import OutOfFold


def make_bundle(
    context: Context,
    evaluation: Evaluation,
    predictions: OutOfFold,
    report: TrainingReport,
    policy: GatePolicy,
    tracker: Tracker,
) -> tuple[Bundle, Head | None]:
    """Return the evidence about the chosen model and the head of the ledger it rests on.

    Args:
        context: of the retraining.
        evaluation: of every model and baseline.
        predictions: out-of-fold, of the chosen model.
        report: of its training stage.
        policy: limits; its stress multiple is computed too.
        tracker: whose registry may know a champion.

    Raises:
        UnavailableError: the trial ledger does not answer.
    """
    content, parameters, dataset = evaluation.content, context.parameters, context.dataset
    name = content["chosen"]
    candidate = Candidate.of(name, dataset, context.folds, predictions, parameters)
    recorded, notes = _recorded(context, name)
    champion, path, words = _champion(tracker, parameters.market, candidate)
    baseline = best_baseline(content["baselines"])
    earned = equity_path(baseline, BASELINE, evaluation.times_ns, evaluation.performances[baseline])
    folder = model_folder(name)
    manifest = Manifest.load(folder)
    given = Given(
        content=content,
        recorded=recorded,
        leaks=check_leaks(dataset, context.folds, parameters.seed, policy.leaks),
        sources=read_sources(
            Path.cwd(), context.lineage, manifest.model_digest, manifest.digest, parameters.feature_set
        ),
        model=ModelFacts(
            parity=report.parity,
            megabytes=(folder / MODEL_FILE).stat().st_size / 1e6,
            lookback=manifest.lookback,
            features=len(manifest.features),
        ),
        champion=champion,
        paths=(*((path,) if path else ()), earned),
        notes=(*content["notes"], *notes, *words),
    )
    return assemble(candidate, parameters, given, policy.stress_multiple), recorded.head if recorded else None


def _recorded(context: Context, name: str) -> tuple[Recorded | None, tuple[str, ...]]:
    """Return what the ledger holds about the market, seen from the newest trial of this model."""
    lineage = data_lineage(context.parameters.raw)
    with open_ledger() as ledger:
        trial = _trial(ledger, lineage, context, name)
        if trial is None:
            return None, (f"no trial of {name} on these data is in the ledger: train it again (dvc repro -f)",)
        try:
            return read_record(ledger, lineage, trial), ()
        except BadInputError as error:
            return None, (error.message,)


def _trial(ledger: TrialLedger, lineage: str, context: Context, name: str) -> str | None:
    rows = ledger.trials(
        lineage=lineage, study=study_name(context.lineage), status=Status.COMPLETED, subject=name, newest=True
    )
    found = (row.id for row in rows if row.data_digest == context.lineage.data_digest and row.steps > 0)
    return next(found, None)


def _champion(
    tracker: Tracker, market: str, candidate: Candidate
) -> tuple[Comparison | None, EquityPath | None, tuple[str, ...]]:
    found = find_champion(tracker.client, model_name(market), candidate.dataset)
    if isinstance(found, str):
        return None, None, (found,)
    version, digest, predictions = found
    path = champion_path(candidate, version, predictions)
    compared = compare(candidate, version, digest, predictions)
    return (None, path, (compared,)) if isinstance(compared, str) else (compared, path, ())
