"""Registry, approval ledger and model store together: what the release commands and the demo do with them."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from core.database import create_engine, migrate
from core.errors import UnavailableError, UsageError
from core.settings import Settings
from serving.release.approvals import ApprovalLedger, Decision, Scope, approve
from serving.release.publish import fetch_package, publish, registry_client
from serving.release.watch import ReleaseAlert, check_release
from serving.store import ModelStore
from tidegate.platform import Addresses


@contextmanager
def approval_ledger(database_url: str) -> Generator[ApprovalLedger]:
    """Yield the ledger of a database, with its tables up to date."""
    engine = create_engine(database_url)
    try:
        migrate(engine)
        yield ApprovalLedger(engine)
    finally:
        engine.dispose()


def registry_settings(addresses: Addresses) -> Settings:
    """The settings with the tracking URI that is in use."""
    mlflow = addresses.settings.mlflow.model_copy(update={"tracking_uri": addresses.mlflow_uri})
    return addresses.settings.model_copy(update={"mlflow": mlflow, "state_directory": addresses.state})


def model_store(addresses: Addresses) -> ModelStore:
    """The models of this machine."""
    return ModelStore(addresses.state / "serving")


def approve_version(
    addresses: Addresses, name: str, version: str, *, scope: str, by: str, reason: str
) -> dict[str, Any]:
    """Verify a version's package, record the approval, and publish it.

    Raises:
        UsageError: no such scope.
        RefusedError: ``live`` for a version that failed the gate.
        IntegrityError: the package or the ledger does not hold.
        BadInputError: there is no such version.
        UnavailableError: registry or database does not answer.
    """
    if scope not in set(Scope):
        raise UsageError(f"no scope {scope!r}: choose one of {', '.join(Scope)}")
    settings, store = registry_settings(addresses), model_store(addresses)
    with approval_ledger(addresses.database_url) as ledger, TemporaryDirectory(prefix="tidegate-package-") as folder:
        package = fetch_package(registry_client(settings), name, version, Path(folder))
        standing = ledger.standing(package.model_digest, strategy=package.manifest.strategy)
        wanted = (version, package.evidence_digest, Scope(scope))
        if standing is None or (standing.version, standing.evidence_digest, standing.scope) != wanted:
            standing = approve(ledger, package, version=version, scope=Scope(scope), by=by, reason=reason)
        pointer = publish(name, version, settings=settings, ledger=ledger, store=store)
    return {
        **msgspec.to_builtins(standing),
        "model": name,
        "revision": pointer.revision,
        "gate": "passed" if package.evidence.verdict.passed else "failed",
    }


def release_alerts(addresses: Addresses, name: str) -> list[ReleaseAlert]:
    """Say where registry, approvals and serving disagree: a raw alias move, a withdrawn approval, a broken ledger."""
    with approval_ledger(addresses.database_url) as ledger:
        return check_release(
            name, name, settings=registry_settings(addresses), ledger=ledger, store=model_store(addresses)
        )


def reject_version(addresses: Addresses, name: str, version: str, *, by: str, reason: str) -> dict[str, Any]:
    """Record that a version is rejected; its approval, if it had one, no longer stands.

    Raises:
        BadInputError, IntegrityError, UnavailableError: as ``approve_version``.
    """
    with approval_ledger(addresses.database_url) as ledger, TemporaryDirectory(prefix="tidegate-package-") as folder:
        package = fetch_package(registry_client(registry_settings(addresses)), name, version, Path(folder))
        record = ledger.append(
            strategy=package.manifest.strategy,
            version=version,
            model_digest=package.model_digest,
            evidence_digest=package.evidence_digest,
            decision=Decision.REJECTED,
            scope=Scope.PAPER,
            by=by,
            reason=reason,
        )
        pointer = model_store(addresses).pointer(package.manifest.strategy)
    served = pointer is not None and pointer.model_digest == package.model_digest
    return {**msgspec.to_builtins(record), "model": name, "served": served}


def list_versions(addresses: Addresses, name: str) -> list[dict[str, Any]]:
    """Return the registered versions of a model, newest first, each with verdict, latest decision and whether served.

    Raises:
        UnavailableError: registry or database does not answer.
        IntegrityError: the approval ledger does not hold.
    """
    from mlflow.exceptions import MlflowException

    store = model_store(addresses)
    pointers = [pointer for strategy in store.strategies() if (pointer := store.pointer(strategy)) is not None]
    served = {(pointer.version, pointer.model_digest) for pointer in pointers}
    try:
        client = registry_client(registry_settings(addresses))
        versions = client.search_model_versions(f"name = '{name}'")
    except MlflowException as error:
        raise UnavailableError(f"the model registry does not answer: {str(error).splitlines()[0]}") from None
    with approval_ledger(addresses.database_url) as ledger:
        decisions = {(record.version, record.model_digest): record for record in ledger.verify_chain()}
    rows: list[dict[str, Any]] = []
    for version in sorted(versions, key=lambda entry: -int(entry.version)):
        number, digest = str(version.version), str(version.tags.get("lineage.model_digest", ""))
        decision = decisions.get((number, digest))
        approved = decision is not None and decision.decision is Decision.APPROVED
        rows.append(
            {
                "name": name,
                "version": number,
                "model": str(version.description or "").partition(",")[0],
                "gate": version.tags.get("gate.verdict", "unknown"),
                "approval": f"{decision.decision}{f' ({decision.scope})' if approved else ''}" if decision else "none",
                "served": "yes" if (number, digest) in served else "",
                "created": datetime.fromtimestamp(int(version.creation_timestamp or 0) / 1000, UTC).isoformat(),
                "model_digest": digest,
                "run_id": version.run_id,
            }
        )
    return rows
