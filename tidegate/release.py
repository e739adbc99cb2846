"""Registry, approval ledger, release ledger and model store together: what approving and rejecting do with them."""

import getpass
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from core.clock import LiveClock
from core.database import create_engine, migrate
from core.errors import UsageError
from core.settings import Settings
from serving.release.advance import advance, is_barred, open_release, refuse_second
from serving.release.approvals import ApprovalLedger, Authentication, Decision, Scope
from serving.release.decisions import decide
from serving.release.effects import ReleaseRoom
from serving.release.policy import ReleasePolicy
from serving.release.publish import fetch_package, registry_client
from serving.release.releases import Releases
from serving.release.signing import ApprovalKeys
from serving.release.states import Release, ReleaseState
from serving.release.watch import ReleaseAlert, check_release
from serving.store import ModelStore
from tidegate.platform import Addresses
from training.online.watch import release_watch


@contextmanager
def release_room(addresses: Addresses) -> Generator[ReleaseRoom]:
    """Yield ledgers, store and registry of a platform, with the tables up to date."""
    engine = create_engine(addresses.database_url)
    settings, clock = registry_settings(addresses), LiveClock()
    try:
        migrate(engine)
        yield ReleaseRoom(
            releases=Releases(engine, clock),
            approvals=ApprovalLedger(engine, clock, ApprovalKeys.of(settings)),
            store=model_store(addresses),
            settings=settings,
            clock=clock,
        )
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
    addresses: Addresses,
    name: str,
    version: str,
    *,
    scope: str,
    by: str,
    reason: str,
    params: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Verify a version's package, record the approval, and begin its release.

    A strategy without a champion is served by it at once (``release.first``); beside a champion it goes into shadow.

    Args:
        addresses: of the platform.
        name: registered model, which is the strategy.
        version: of the model.
        scope: ``paper`` or ``live``.
        by, reason: who approves and why.
        params: content of the workspace's ``params.yaml``: what the release goes by; the defaults when not given.

    Raises:
        UsageError: no such scope.
        RefusedError: ``live`` for a version that failed the gate, another version is being released, or four eyes are
            asked for and this person has approved it already.
        IntegrityError: the package or a ledger does not hold.
        BadInputError: there is no such version.
        UnavailableError: registry or database does not answer.
    """
    if scope not in set(Scope):
        raise UsageError(f"no scope {scope!r}: choose one of {', '.join(Scope)}")
    policy = release_policy(params)
    with release_room(addresses) as room, TemporaryDirectory(prefix="tidegate-package-") as folder:
        client = registry_client(room.settings)
        package = fetch_package(client, name, version, Path(folder))
        strategy, ledger = package.manifest.strategy, room.approvals
        before = room.store.pointer(strategy)
        serves = before is not None and not before.flat and before.model_digest == package.model_digest
        if not serves:
            refuse_second(room, strategy, version)
        standing = ledger.standing(package.model_digest, strategy=strategy)
        wanted = (version, package.evidence_digest, Scope(scope))
        if (
            standing is None
            or (standing.version, standing.evidence_digest, standing.scope) != wanted
            or is_barred(room, standing)
        ):
            standing = decide(
                ledger,
                package,
                version=version,
                decision=Decision.APPROVED,
                scope=Scope(scope),
                by=by,
                reason=reason,
                user=getpass.getuser(),
                authentication=Authentication.OPERATING_SYSTEM,
                four_eyes=policy.four_eyes,
                registered_by=str(client.get_model_version(name, version).tags.get("lineage.registered_by", "")),
            )
        room.store.add(package)
        champion = room.releases.champion(strategy)
        if champion is None or champion.version != version:
            open_release(room, standing, policy)
        advance(room, strategy, policy, release_watch(room.approvals.engine, params))
        release = newest_release(room, strategy, version)
        pointer = room.store.pointer(strategy)
    return {
        **msgspec.to_builtins(standing),
        "model": name,
        "revision": pointer.revision if pointer else 0,
        "gate": "passed" if package.evidence.verdict.passed else "failed",
        "release": release.release_id,
        "state": release.words,
        "served": release.state is ReleaseState.CHAMPION,
        "champion": pointer.version if pointer and not pointer.flat else None,
    }


def release_policy(params: Mapping[str, Any] | None) -> ReleasePolicy:
    """Return the policy in a workspace's parameters; the defaults without any.

    Raises:
        BadInputError: the section ``release`` is wrong.
    """
    return ReleasePolicy() if params is None else ReleasePolicy.read(params)


def newest_release(room: ReleaseRoom, strategy: str, version: str) -> Release:
    """Return the last release of a version, which must have one."""
    return [release for release in room.releases.releases(strategy) if release.version == version][-1]


def release_alerts(addresses: Addresses, name: str) -> list[ReleaseAlert]:
    """Say where registry, approvals and serving disagree: a raw alias move, a withdrawn approval, a broken ledger."""
    with release_room(addresses) as room:
        return check_release(name, name, settings=room.settings, ledger=room.approvals, store=room.store)


def reject_version(
    addresses: Addresses, name: str, version: str, *, by: str, reason: str, params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Record that a version is rejected; its approval, if it had one, no longer stands, and its release ends.

    Raises:
        BadInputError, IntegrityError, UnavailableError: as ``approve_version``.
    """
    policy = release_policy(params)
    with release_room(addresses) as room, TemporaryDirectory(prefix="tidegate-package-") as folder:
        package = fetch_package(registry_client(room.settings), name, version, Path(folder))
        strategy = package.manifest.strategy
        record = room.approvals.append(
            strategy=strategy,
            version=version,
            model_digest=package.model_digest,
            evidence_digest=package.evidence_digest,
            decision=Decision.REJECTED,
            scope=Scope.PAPER,
            by=by,
            reason=reason,
            user=getpass.getuser(),
            authentication=Authentication.OPERATING_SYSTEM,
        )
        ended = advance(room, strategy, policy, release_watch(room.approvals.engine, params))
        pointer = room.store.pointer(strategy)
    served = pointer is not None and any(s.model_digest == package.model_digest for s in pointer.standings)
    ends = [release.release_id for release in ended if release.state is ReleaseState.REJECTED]
    return {**msgspec.to_builtins(record), "model": name, "served": served, "ended": ends}
