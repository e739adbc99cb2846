"""The stage after fitting: evaluate all models and package the chosen one with its evidence."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.clock import to_rfc3339
from core.files import write_json
from serving.release.evidence import Evidence, Manifest
from training.evaluation.report import Evaluation, evaluate
from training.evidence import LEDGER_FILE, PAGE_FILE, GatePolicy, judge
from training.evidence.page import write_page
from training.models import BLEND, model_folder
from training.package import CHOSEN, TrainingReport, copy_package, read_out_of_fold, read_training
from training.stages.bundle import make_bundle
from training.stages.context import Context, load_context
from training.stages.progress import Progress
from training.stages.trial import evaluation_trials
from training.tracking import Tracker

REPORTS = Path("reports/evaluation")
_CURVE_POINTS = 400  # of an equity curve in the JSON: enough for a screen


def models_of(context: Context) -> tuple[str, ...]:
    """Return what is judged: the trained components, sorted, and their blend."""
    return (*sorted(context.parameters.models.components), BLEND)


def evaluation() -> None:
    """Judge every model and baseline on the same unseen rows and write the package of the chosen model."""
    from training.evaluation import plots

    progress = Progress("evaluate")
    context = load_context()
    policy = GatePolicy.from_params(context.parameters.raw)
    reports = {name: read_training(model_folder(name)) for name in models_of(context)}
    predictions = {name: read_out_of_fold(model_folder(name), context.dataset) for name in models_of(context)}
    with evaluation_trials(context, predictions) as counted:
        if counted:
            progress(f"sizing or cost are new to {', '.join(counted)}: counted as trials")
        result = evaluate(context.dataset, context.folds, predictions, context.parameters)
    content, models = result.content, result.content["models"]
    for name, entry in models.items():
        skill, sharpe = entry["skill"], entry["strategy"]["sharpe"]
        progress(
            f"{name}: log loss {entry['log_loss']:.5f}, skill {skill['value']:+.3%} "
            f"[{skill['low']:+.3%}, {skill['high']:+.3%}], Sharpe {sharpe['value']:+.2f} "
            f"[{sharpe['low']:+.2f}, {sharpe['high']:+.2f}]"
        )
    chosen = content["chosen"]
    tracker = context.tracker()
    bundle, head = make_bundle(context, result, predictions[chosen], reports[chosen], policy, tracker)
    verdict = judge(bundle, policy)
    content["verdict"] = msgspec.to_builtins(verdict)
    plots.equity(REPORTS / "equity.png", result.times_ns, result.performances)
    plots.calibration(REPORTS / "calibration.png", models)
    shares = {name: report.importance for name, report in reports.items() if report.importance is not None}
    plots.importance(REPORTS / "feature_importance.png", shares)
    plots.losses(REPORTS / "log_loss.png", models, content["baselines"][content["reference"]]["log_loss_per_fold"])
    write_json(REPORTS / "equity.json", _curves(result))
    copy_package(model_folder(chosen))
    manifest = Manifest.load(CHOSEN)
    lineage = context.lineage
    bundle_digest = bundle.save(REPORTS)
    write_json(REPORTS / LEDGER_FILE, msgspec.to_builtins(head) if head else None)
    page_digest = write_page(REPORTS / PAGE_FILE, bundle, verdict, policy)
    Evidence(
        model_digest=manifest.model_digest,
        manifest_digest=manifest.digest,
        data_digest=lineage.data_digest,
        feature_digest=lineage.feature_digest,
        code_digests=lineage.code_digests,
        environment_digest=lineage.environment_digest,
        git_commit=lineage.git_commit,
        out_of_sample=_out_of_sample(content),
        verdict=verdict,
        bundle_digest=bundle_digest,
        page_digest=page_digest,
    ).save(CHOSEN)
    # The last file: whoever finds it finds everything else.
    write_json(REPORTS / "evaluation.json", content)
    track(context, reports, content)
    progress(f"{content['words']} The gate {'passed' if verdict.passed else 'did not pass'} {chosen}.")


def parameters_of(context: Context, name: str) -> dict[str, Any]:
    """Return the parameters of a model's run."""
    if name == BLEND:
        return {"components": ", ".join(sorted(context.parameters.models.components))}
    return context.model_parameters(name)


def track(context: Context, reports: dict[str, TrainingReport], content: dict[str, Any]) -> None:
    """Log the evaluation: numbers to each model's run, plots and the report to the retraining's."""
    tracker: Tracker = context.tracker()
    for name, report in reports.items():
        folder, entry = model_folder(name), content["models"][name]
        digest = Manifest.load(folder).model_digest
        run = tracker.ensure(folder, report, digest, parameters_of(context, name))
        run.metrics(_numbers(entry))
        for fold, skill in enumerate(entry["skill_per_fold"]):
            run.metrics({"fold_skill": skill}, fold + 1)
        for plot in sorted(REPORTS.glob("*.png")):
            run.artifact(plot, "evaluation")
        run.tags({"tidegate.chosen": "true" if name == content["chosen"] else "false"})
    parent = tracker.parent
    parent.metrics(_numbers(content["models"][content["chosen"]]))
    for path in sorted(REPORTS.iterdir()):
        parent.artifact(path, "evaluation")
    parent.tags(
        {
            "tidegate.chosen": content["chosen"],
            "gate.verdict": "passed" if content["verdict"]["passed"] else "failed",
            "mlflow.note.content": content["words"],
        }
    )


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of an evaluation entry, intervals as ``_low`` and ``_high``."""
    numbers: dict[str, float] = {}
    for prefix, part in (("", entry), ("strategy_", entry["strategy"])):
        for key, value in part.items():
            if isinstance(value, dict) and "low" in value:
                numbers |= {f"{prefix}{key}": value["value"]}
                numbers |= {f"{prefix}{key}_{side}": value[side] for side in ("low", "high")}
            elif isinstance(value, int | float):
                numbers[f"{prefix}{key}"] = float(value)
    return numbers


def _curves(result: Evaluation) -> dict[str, Any]:
    """Return equity curves for charts: times as RFC 3339, one list per strategy."""
    points = np.unique(np.linspace(0, len(result.times_ns) - 1, _CURVE_POINTS).astype(np.int64))
    return {
        "times": [to_rfc3339(int(result.times_ns[point])) for point in points],
        "equity": {
            name: [round(float(performance.equity[point]), 6) for point in points]
            for name, performance in result.performances.items()
        },
    }


def _out_of_sample(content: dict[str, Any]) -> dict[str, Any]:
    """Return what the evidence says about the chosen model: its numbers and those of all others, without the bins."""
    keys = ("market", "rows", "decision_times", "folds", "first_test_ns", "last_test_ns", "cutoff_ns", "reference")
    slim = {
        group: {name: {k: v for k, v in entry.items() if k != "reliability"} for name, entry in content[group].items()}
        for group in ("models", "baselines")
    }
    return {key: content[key] for key in (*keys, "chosen", "beats_baselines", "words", "notes")} | slim
