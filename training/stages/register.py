"""The last stage: register the package of the chosen model with its evidence."""

from pathlib import Path

from core.files import read_json
from serving.release.attached import BUNDLE_FILE, PAGE_FILE
from serving.release.evidence import Evidence, Manifest
from training.evidence import LEDGER_FILE, Bundle
from training.evidence.registered import version_description, version_tags
from training.models import model_folder
from training.package import CHOSEN, read_training
from training.registry import Attached, versions_of
from training.registry import register as register_package
from training.stages.context import Context, load_context
from training.stages.judge import REPORTS, models_of, parameters_of, track
from training.stages.progress import Progress
from training.tracking import RESTORED, Run, Tracker


def register() -> None:
    """Register the package of the chosen model and write ``models/registered.json``."""
    progress = Progress("register")
    context = load_context()
    manifest, evidence = Manifest.load(CHOSEN), Evidence.load(CHOSEN)
    tracker = context.tracker()
    if "gate.verdict" not in tracker.parent.tags_of():
        # The evaluation came from DVC's cache: this store has not seen it.
        content = read_json(REPORTS / "evaluation.json")
        track(context, {name: read_training(model_folder(name)) for name in models_of(context)}, content)
    bundle = Bundle.load(REPORTS / BUNDLE_FILE)
    attached = Attached(
        files=tuple(REPORTS / name for name in (BUNDLE_FILE, LEDGER_FILE, PAGE_FILE)),
        tags=version_tags(bundle, evidence),
        describe=lambda version, experiment, run: version_description(bundle, evidence, version, experiment, run),
    )
    result = register_package(tracker, lambda: _run(context, tracker, manifest), CHOSEN, attached)
    tracker.finish()
    progress(f"{result['name']} version {result['version']}, gate {result['verdict']}")


def _run(context: Context, tracker: Tracker, manifest: Manifest) -> Run:
    """Return the run of the chosen model; one that carries a version already gets a second one beside it.

    A model that is judged anew (more trials, another policy) has other evidence and becomes a version of its own: in
    the run of the first it would write over the evidence that somebody may have approved.
    """
    folder: Path = model_folder(manifest.name)
    report, parameters = read_training(folder), parameters_of(context, manifest.name)
    run = tracker.ensure(folder, report, manifest.model_digest, parameters)
    if not versions_of(tracker, context.parameters.market, run.run_id):
        return run
    with tracker.fit(manifest.name, parameters) as again:
        again.tags({RESTORED: "true"})
        again.fitted(folder, report, manifest.model_digest)
    return again
