"""The model registry: versions of ``tidegate-<market>``, each from its run, with package, signature and lineage."""

import getpass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UnavailableError
from core.files import write_json
from serving.release.evidence import (
    EVIDENCE_FILE,
    MODEL_FILE,
    PACKAGE_FILES,
    WARMUP_FILE,
    Evidence,
    Manifest,
    check_documents,
)
from training.tracking import Run, Tracker

REGISTERED = Path("models/registered.json")
PACKAGE = "package"
MODEL_DIGEST = "lineage.model_digest"
EVIDENCE_DIGEST = "lineage.evidence_digest"


def model_name(market: str) -> str:
    """Return the name of the registered model of a market."""
    return f"tidegate-{market}"


def register(tracker: Tracker, run: Run, folder: Path) -> dict[str, Any]:
    """Register a package as a model version, once: the same package again returns the version that is there.

    Args:
        tracker: of the retraining.
        run: the run that made the model; package and ONNX model are logged to it.
        folder: the package, with evidence.

    Returns:
        What ``models/registered.json`` holds.

    Raises:
        IntegrityError: the package does not hold together.
        UnavailableError: the registry does not answer.
    """
    from mlflow.exceptions import MlflowException

    manifest, evidence = check_documents(folder)
    try:
        version = _find(tracker, manifest, evidence) or _create(tracker, run, folder, manifest, evidence)
    except MlflowException as error:
        raise UnavailableError(f"the model registry does not answer: {str(error).splitlines()[0]}") from None
    result = {
        "name": model_name(manifest.market),
        "version": str(version.version),
        "run_id": version.run_id,
        "model": manifest.name,
        "model_digest": manifest.model_digest,
        "manifest_digest": manifest.digest,
        "evidence_digest": evidence.digest,
        "data_digest": evidence.data_digest,
        "feature_digest": evidence.feature_digest,
        "git_commit": evidence.git_commit,
        "verdict": "passed" if evidence.verdict.passed else "failed",
        "retraining": tracker.lineage.retraining,
        "parent_run_id": tracker.parent_id,
        "experiment_id": tracker.experiment_id,
    }
    write_json(REGISTERED, result)
    return result


def _find(tracker: Tracker, manifest: Manifest, evidence: Evidence) -> Any:
    """Return the version that was made of exactly this package, or None."""
    client, name = tracker.client, model_name(manifest.market)
    for version in client.search_model_versions(
        f"name = '{name}' and tags.`{MODEL_DIGEST}` = '{manifest.model_digest}'"
    ):
        if version.tags.get(EVIDENCE_DIGEST) == evidence.digest:
            return version
    return None


def _create(tracker: Tracker, run: Run, folder: Path, manifest: Manifest, evidence: Evidence) -> Any:
    from mlflow.exceptions import MlflowException

    client, name = tracker.client, model_name(manifest.market)
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(
            name, description=f"Class probabilities ({', '.join(manifest.classes)}) for the market {manifest.market}."
        )
    for file in PACKAGE_FILES:
        run.artifact(folder / file, PACKAGE)
    source, model_id = _log_model(run, folder, manifest)
    tags = {
        MODEL_DIGEST: manifest.model_digest,
        EVIDENCE_DIGEST: evidence.digest,
        "lineage.manifest_digest": manifest.digest,
        "lineage.data_digest": evidence.data_digest,
        "lineage.feature_digest": evidence.feature_digest,
        "lineage.environment_digest": evidence.environment_digest,
        "lineage.git_commit": evidence.git_commit,
        "lineage.registered_by": getpass.getuser(),  # who may not be one of the two that approve it
        "gate.verdict": "passed" if evidence.verdict.passed else "failed",
    }
    tags |= {f"gate.{rule.rule}": "passed" if rule.passed else "failed" for rule in evidence.verdict.rules}
    words = "\n".join(f"- {'passed' if rule.passed else 'FAILED'}: {rule.words}" for rule in evidence.verdict.rules)
    headline = "The gate passed this model." if evidence.verdict.passed else "The gate did not pass this model."
    return client.create_model_version(
        name,
        source,
        run_id=run.run_id,
        model_id=model_id,  # a tracking server refuses a logged model as source without it
        tags=tags,
        description=f"{manifest.name}, lookback {manifest.lookback}. {headline}\n\n{words}\n\n"
        f"Evidence: `{PACKAGE}/{EVIDENCE_FILE}` of the source run.",
    )


def _log_model(run: Run, folder: Path, manifest: Manifest) -> tuple[str, str]:
    """Log the ONNX model with signature and input example; return its source URI and its id."""
    import mlflow
    import onnx
    import onnxruntime
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = (-1, manifest.lookback, len(manifest.features))
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), shape, "features")]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(manifest.classes)), "probabilities")]),
    )
    with np.load(folder / WARMUP_FILE, allow_pickle=False) as archive:
        example = {"features": archive["inputs"][:1]}
    with mlflow.start_run(run_id=run.run_id):
        info = mlflow.onnx.log_model(  # pyright: ignore[reportAttributeAccessIssue] - lazily loaded module
            onnx.load(str(folder / MODEL_FILE)),
            name="model",
            signature=signature,
            input_example=example,
            pip_requirements=[f"onnxruntime=={onnxruntime.__version__}", f"onnx=={onnx.__version__}"],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
    return str(info.model_uri), str(info.model_id)
