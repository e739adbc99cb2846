"""The model registry: versions of ``tidegate-<market>``, each from its run, with package, signature and lineage."""

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UnavailableError
from core.files import write_json
from serving.release.attached import EVIDENCE_FOLDER, MODEL_TAG, why
from serving.release.evidence import (
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


@dataclass(frozen=True)
class Attached:
    """What a version carries beside its package: the evidence in full, tags, and a text for the reviewer.

    ``describe`` makes the text of the version's number, its experiment and its run.
    """

    files: tuple[Path, ...]
    tags: Mapping[str, str]
    describe: Callable[[str, str, str], str]


def register(tracker: Tracker, find_run: Callable[[], Run], folder: Path, attached: Attached) -> dict[str, Any]:
    """Register a package as a model version, once: the same package again returns the version that is there.

    A version is complete when it appears: package, evidence and tags are there before it. Only the description follows,
    since it names the version's number; where a crash came between, the next call writes it. Nothing that is there is
    written over: what a reviewer changed stays.

    Args:
        tracker: of the retraining.
        find_run: returns the run that made the model and that carries no version yet; package, evidence and ONNX model
            are logged to it. Asked only when the version is new.
        folder: the package, with evidence.
        attached: what the version carries beside it.

    Returns:
        What ``models/registered.json`` holds.

    Raises:
        IntegrityError: the package does not hold together.
        UnavailableError: the registry does not answer.
    """
    from mlflow.exceptions import MlflowException

    manifest, evidence = check_documents(folder)
    try:
        version = _find(tracker, manifest, evidence)
        if version is None:
            version = _create(tracker, find_run(), folder, manifest, evidence, attached)
        _complete(tracker, version, attached)
    except MlflowException as error:
        raise UnavailableError(f"the model registry does not answer: {why(error)}") from None
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


def versions_of(tracker: Tracker, market: str, run_id: str) -> list[str]:
    """Return the versions that were registered from a run.

    Raises:
        UnavailableError: the registry does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = tracker.client.search_model_versions(f"name = '{model_name(market)}' and run_id = '{run_id}'")
    except MlflowException as error:
        raise UnavailableError(f"the model registry does not answer: {why(error)}") from None
    return [str(version.version) for version in found]


def _complete(tracker: Tracker, version: Any, attached: Attached) -> None:
    """Write what a version lacks: its description, and tags that are not there."""
    name, number = version.name, str(version.version)
    for tag, value in attached.tags.items():
        if tag not in version.tags:
            tracker.client.set_model_version_tag(name, number, tag, value)
    if not version.description:
        words = attached.describe(number, str(tracker.experiment_id), str(version.run_id))
        tracker.client.update_model_version(name, number, words)


def _create(
    tracker: Tracker, run: Run, folder: Path, manifest: Manifest, evidence: Evidence, attached: Attached
) -> Any:
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
    for path in attached.files:
        run.artifact(path, EVIDENCE_FOLDER)
    source, model_id = _log_model(run, folder, manifest)
    tags = {
        MODEL_TAG: manifest.name,
        MODEL_DIGEST: manifest.model_digest,
        EVIDENCE_DIGEST: evidence.digest,
        "lineage.manifest_digest": manifest.digest,
        "lineage.data_digest": evidence.data_digest,
        "lineage.feature_digest": evidence.feature_digest,
        "lineage.environment_digest": evidence.environment_digest,
        "lineage.git_commit": evidence.git_commit,
        "lineage.registered_by": getpass.getuser(),  # who may not be one of the two that approve it
        **attached.tags,
    }
    return client.create_model_version(
        name,
        source,
        run_id=run.run_id,
        model_id=model_id,  # a tracking server refuses a logged model as source without it
        tags=tags,
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
