"""The evidence attached to a registered version: is it still what the version's package names?

``register`` logs the evidence in full under ``evidence/`` of the version's run: ``bundle.json``, the page that a
reviewer reads, and the head of the trial ledger. The package's ``evidence.json`` names the first two by their digests,
and the approval names ``evidence.json``: an edited artifact is found before anybody trades on it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from core.digest import digest_file
from core.errors import BadInputError, IntegrityError, UnavailableError
from serving.release.evidence import Evidence

if TYPE_CHECKING:
    from mlflow import MlflowClient

EVIDENCE_FOLDER = "evidence"
BUNDLE_FILE = "bundle.json"
PAGE_FILE = "bundle.html"
EVIDENCE_DIGEST_TAG = "lineage.evidence_digest"
VERDICT_TAG = "gate.verdict"
MODEL_TAG = "lineage.model"  # name of the model, such as xgboost
NO_SUCH_VERSION = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second: no number


def verdict_word(evidence: Evidence) -> str:
    """Return the value of the tag ``gate.verdict``."""
    return "passed" if evidence.verdict.passed else "failed"


def check_attached(client: "MlflowClient", name: str, version: str, evidence: Evidence, folder: Path) -> Path:
    """Download the evidence of a registered version and check it against what its package says.

    Args:
        client: of the registry.
        name: of the registered model.
        version: of it.
        evidence: of the version's verified package.
        folder: where the files are put.

    Returns:
        The folder that holds ``bundle.json`` and the other files.

    Raises:
        BadInputError: there is no such version, or it was registered without a bundle.
        IntegrityError: a file is missing or was changed, or a tag of the version says otherwise; the message names it.
        UnavailableError: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    if evidence.bundle_digest is None:
        raise BadInputError(
            f"version {version} of {name} was registered without an evidence bundle: retrain to get a version that "
            "has one"
        )
    try:
        registered = client.get_model_version(name, version)
        run_id = str(registered.run_id)
        present = {Path(item.path).name for item in client.list_artifacts(run_id, EVIDENCE_FOLDER)}
        if BUNDLE_FILE not in present:
            raise IntegrityError(
                f"version {version} of {name}: {EVIDENCE_FOLDER}/{BUNDLE_FILE} is gone from run {run_id}; do not "
                "serve it"
            )
        local = Path(client.download_artifacts(run_id, EVIDENCE_FOLDER, str(folder)))
    except (MlflowException, OSError) as error:
        if getattr(error, "error_code", "") in NO_SUCH_VERSION:
            raise no_such_version(name, version) from None
        raise UnavailableError(f"cannot fetch the evidence of version {version} of {name}: {why(error)}") from error

    def expect(what: str, found: str, expected: str) -> None:
        if found != expected:
            raise IntegrityError(
                f"version {version} of {name}: {what} is {found}, its package says {expected}: somebody changed it, "
                "do not serve it"
            )

    expect(f"the digest of {EVIDENCE_FOLDER}/{BUNDLE_FILE}", digest_file(local / BUNDLE_FILE), evidence.bundle_digest)
    if evidence.page_digest is not None:
        found = digest_file(local / PAGE_FILE) if (local / PAGE_FILE).is_file() else "missing"
        expect(f"the digest of {EVIDENCE_FOLDER}/{PAGE_FILE}", found, evidence.page_digest)
    tags = registered.tags
    expect(f"the tag {EVIDENCE_DIGEST_TAG}", str(tags.get(EVIDENCE_DIGEST_TAG)), evidence.digest)
    expect(f"the tag {VERDICT_TAG}", str(tags.get(VERDICT_TAG)), verdict_word(evidence))
    return local


def no_such_version(name: str, version: str) -> BadInputError:
    """Return the error about a version that the registry does not know."""
    return BadInputError(
        f"there is no version {version} of {name} in the registry: `tidegate models` lists what there is"
    )


def why(error: Exception) -> str:
    """Return in one line why MLflow could not give something, with what to do where that is known."""
    words = str(error)
    if "mlflow-artifacts" in words:
        # MLflow's own message goes on over several lines about environment variables that the platform sets itself.
        return (
            "its files are kept by an MLflow server, and none is running here: start it with `tidegate up`, or name it "
            "in TIDEGATE_MLFLOW__TRACKING_URI"
        )
    if "Max retries exceeded" in words:
        return "the MLflow server does not answer: `tidegate status` says whether it runs"
    return " ".join(words.split()) or type(error).__name__
