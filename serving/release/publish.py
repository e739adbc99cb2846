"""Publication: a version of the registry becomes the champion of this machine, if its approval stands.

The registry alias is a pointer, the approval is the authority: the pointer on disk moves first and only with a
verified package and a standing approval; the alias follows for the people who look at the registry.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import IntegrityError, RefusedError, UnavailableError
from core.logging import get_logger
from core.settings import Settings
from serving.release.approvals import ApprovalLedger
from serving.release.attached import NO_SUCH_VERSION, check_attached, no_such_version, why
from serving.release.evidence import VerifiedPackage, verify_package
from serving.store import ModelStore, Pointer

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION_ALIAS = "champion"
PACKAGE_ARTIFACT = "package"
_log = get_logger("serving")


def publish_package(package: VerifiedPackage, *, version: str, ledger: ApprovalLedger, store: ModelStore) -> Pointer:
    """Copy a verified package into the store and make it the champion of its strategy.

    Raises:
        RefusedError: no approval stands for it, or the approval is for other evidence, or it is not signed.
        IntegrityError: the approval ledger is broken or has lost the approval the present champion stands on.
        UnavailableError: the database does not answer.
    """
    strategy = package.manifest.strategy
    present = store.pointer(strategy)
    ledger.verify_chain([one.approval for one in present.standings] if present else [])
    approval = ledger.standing(package.model_digest, strategy=strategy)
    if approval is None:
        raise RefusedError(
            f"version {version} of strategy {strategy} (model {package.model_digest[:12]}) has no standing approval: "
            "approve it first"
        )
    if (approval.version, approval.evidence_digest) != (version, package.evidence_digest):
        raise RefusedError(
            f"the approval of model {package.model_digest[:12]} is for version {approval.version} with evidence "
            f"{approval.evidence_digest[:12]}, not for version {version} with evidence "
            f"{package.evidence_digest[:12]}: approve this version"
        )
    if not approval.signed:
        raise RefusedError(
            f"the approval of version {version} of strategy {strategy} is from before approvals were signed: what is "
            "served on it stays, nothing new is published on it; approve the version again"
        )
    store.add(package)
    pointer = store.move(approval)
    _log.info("published", strategy=strategy, version=version, revision=pointer.revision, scope=approval.scope)
    return pointer


def publish(model_name: str, version: str, *, settings: Settings, ledger: ApprovalLedger, store: ModelStore) -> Pointer:
    """Fetch a version of a registered model, publish it, and set its alias ``champion``.

    Raises:
        RefusedError, IntegrityError: see ``publish_package``; also when the registry's lineage tag names another
            model than the package.
        BadInputError: the registry has no such version.
        UnavailableError: MLflow or the database does not answer.
    """
    from mlflow.exceptions import MlflowException

    client = registry_client(settings)
    with tempfile.TemporaryDirectory(prefix="tidegate-package-") as folder:
        package = fetch_package(client, model_name, version, Path(folder))
        pointer = publish_package(package, version=version, ledger=ledger, store=store)
    try:
        client.set_registered_model_alias(model_name, CHAMPION_ALIAS, version)
    except MlflowException as error:
        raise UnavailableError(
            f"version {version} of {model_name} is served, but its alias could not be set: {why(error)}; "
            "publish it again when MLflow answers"
        ) from error
    return pointer


def registry_client(settings: Settings) -> "MlflowClient":
    """Return a client of the registry named by the settings. Imports mlflow: no replica calls this."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=settings.mlflow_tracking_uri, registry_uri=settings.mlflow_tracking_uri)


def fetch_package(client: "MlflowClient", model_name: str, version: str, folder: Path) -> VerifiedPackage:
    """Download the package of a registered version and its evidence into ``folder`` and verify both.

    Raises:
        BadInputError: the registry has no such version.
        UnavailableError: MLflow does not answer, or cannot give the package.
        IntegrityError: the package does not hold, the evidence attached to the version is not what it names, or a tag
            says otherwise.
    """
    from mlflow.exceptions import MlflowException

    registered = None
    try:
        registered = client.get_model_version(model_name, version)
        local = client.download_artifacts(str(registered.run_id), PACKAGE_ARTIFACT, str(folder))
    except (MlflowException, OSError) as error:
        if registered is None and getattr(error, "error_code", "") in NO_SUCH_VERSION:
            raise no_such_version(model_name, version) from None
        raise UnavailableError(f"cannot fetch version {version} of {model_name}: {why(error)}") from error
    package = verify_package(Path(local))
    tagged = registered.tags.get("lineage.model_digest", package.model_digest)
    if tagged != package.model_digest:
        raise IntegrityError(
            f"version {version} of {model_name} is tagged with model {tagged}, its package holds "
            f"{package.model_digest}; do not serve it"
        )
    if package.evidence.bundle_digest is not None:
        check_attached(client, model_name, version, package.evidence, folder)
    return package
