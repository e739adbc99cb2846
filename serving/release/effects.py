"""What a transition does to the world: the policy of the replicas, the registry, the Bento.

The ledger comes first: a transition is committed, then its effects follow, then the ledger notes that they are done.
Every effect looks at what is there and changes what differs, so that it may be asked for again after a kill at any
place. The effects are those of the state a release has now, not of the states it passed while nobody could apply them.
"""

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock
from core.crash_points import reach
from core.errors import IntegrityError, RefusedError, TidegateError
from core.logging import get_logger
from core.settings import Settings
from serving.release.approval import Approval, Decision
from serving.release.approvals import ApprovalLedger
from serving.release.findings import Severity, Trigger, TriggerKind
from serving.release.machine import traffic_of
from serving.release.policy import ReleasePolicy
from serving.release.publish import fetch_package, registry_client
from serving.release.release_registry import aliases_of, set_aliases, set_tags, tags_of
from serving.release.releases import Releases
from serving.release.rollback import finish, roll_back, strategy_folder
from serving.release.rollback_record import read_intent
from serving.release.states import SCORED, Cause, Release, ReleaseState
from serving.store import ModelStore, Pointer
from serving.traffic.policy import CHAMPION_ONLY, Arm

_ATTEMPTS = 5  # the policy was changed by somebody else between our look and our write
_log = get_logger("serving")


@dataclass(frozen=True)
class ReleaseRoom:
    """The ledgers, the store and the registry that a release touches."""

    releases: Releases
    approvals: ApprovalLedger
    store: ModelStore
    settings: Settings
    clock: Clock


def apply(room: ReleaseRoom, strategy: str) -> list[Release]:
    """Bring policy and registry of a strategy to where its releases are; return the releases whose effects are done.

    Nothing is touched while no transition waits for its effects.

    Raises:
        RefusedError: the approval no longer stands, or the store refuses the policy.
        IntegrityError: a ledger or a package does not hold.
        UnavailableError: registry or database does not answer; the policy may be in force, the rest follows later.
    """
    if not room.releases.unfinished(strategy):
        return []
    folder = strategy_folder(room.store, strategy)
    with _locked(folder):
        if read_intent(folder) is not None:
            finish(room.store, strategy, room.clock)  # a rollback that somebody was killed in goes before everything
        waiting = room.releases.unfinished(strategy)
        for release in waiting:
            if release.state in SCORED | {ReleaseState.CHAMPION}:
                ensure_package(room, release)
        _take_back(room, waiting)
        pointer = _set_policy(room, strategy)
        reach("release.policy_set")
        _tell_registry(room, strategy, waiting, pointer)
        return waiting


def _tell_registry(room: ReleaseRoom, strategy: str, waiting: list[Release], pointer: Pointer | None) -> None:
    """Set aliases and tags, and note each release whose effects are done."""
    client, revision = registry_client(room.settings), pointer.revision if pointer else 0
    champion = pointer.version if pointer and not pointer.flat else ""
    set_aliases(client, strategy, aliases_of(champion, room.releases.current(strategy)))
    reach("release.alias_set")
    for release in waiting:
        set_tags(client, strategy, release, tags_of(release, room.releases.history(release.release_id), revision))
        reach("release.tags_set")
        room.releases.effects_done(release)
        _log.info("release", release=release.release_id, state=release.words, revision=revision)


def resume_all(room: ReleaseRoom) -> list[Release]:
    """Apply what is missing for every strategy; return the releases whose effects are done now.

    What cannot be done for one strategy is logged and keeps no other waiting.
    """
    done: list[Release] = []
    for strategy in sorted({release.strategy for release in room.releases.unfinished()}):
        try:
            done += apply(room, strategy)
        except TidegateError as error:
            _log.error("release cannot be carried on", strategy=strategy, words=error.message)
    return done


def ensure_package(room: ReleaseRoom, release: Release) -> None:
    """Make sure that the package of a release is in the store of this machine, from the registry where it is not.

    Raises:
        IntegrityError: the registry holds another package than the one approved.
        BadInputError, UnavailableError: it cannot be fetched.
    """
    folder = room.store.package_folder(release.strategy, release.evidence_digest)
    if folder.exists():
        return
    with tempfile.TemporaryDirectory(prefix="tidegate-package-") as temporary:
        client = registry_client(room.settings)
        package = fetch_package(client, release.strategy, release.version, Path(temporary))
        found = (package.manifest.strategy, package.model_digest, package.evidence_digest)
        if found != (release.strategy, release.model_digest, release.evidence_digest):
            raise IntegrityError(
                f"version {release.version} of {release.strategy} is {found} in the registry, release "
                f"{release.release_id} is of {(release.strategy, release.model_digest, release.evidence_digest)}; "
                "do not serve it"
            )
        room.store.add(package)
    reach("release.package_stored")


def build_bentos(room: ReleaseRoom, strategy: str | None = None) -> dict[str, str]:
    """Build the Bento of every champion that has none yet; return tags by release.

    Raises:
        IntegrityError: the package does not hold.
        UnavailableError: BentoML or the registry does not answer.
    """
    from serving.bento import build_bento
    from serving.release.evidence import verify_package

    built: dict[str, str] = {}
    for release in room.releases.releases(strategy):
        if release.state is not ReleaseState.CHAMPION or release.bento or release.applied < release.sequence:
            continue
        if not policy_of(release).bento:
            continue
        package = verify_package(room.store.package_folder(release.strategy, release.evidence_digest))
        tag = build_bento(package, release.strategy, room.settings.state / "bentoml")
        set_tags(registry_client(room.settings), release.strategy, release, {"release.bento": tag})
        reach("release.bento_built")
        room.releases.bento_built(release, tag)
        built[release.release_id] = tag
    return built


def policy_of(release: Release) -> ReleasePolicy:
    """Return the policy a release goes by. One that began with a rollback has none of its own."""
    return ReleasePolicy.of(release.policy)


def approval_of(room: ReleaseRoom, release: Release) -> Approval:
    """Return the approval a release stands on, if it still stands.

    Raises:
        RefusedError: it was withdrawn.
        IntegrityError: the ledger of approvals is broken or has not this record.
        UnavailableError: the database does not answer.
    """
    records = room.approvals.verify_chain()
    if not 0 < release.approval <= len(records):
        raise IntegrityError(f"release {release.release_id} stands on approval {release.approval}, which is not there")
    approval = records[release.approval - 1]
    claims = (approval.strategy, approval.version, approval.model_digest, approval.evidence_digest)
    expected = (release.strategy, release.version, release.model_digest, release.evidence_digest)
    if claims != expected or approval.decision is not Decision.APPROVED:
        raise IntegrityError(
            f"release {release.release_id} stands on approval {release.approval}, which is of {claims}"
        )
    if room.approvals.standing(release.model_digest, strategy=release.strategy) is None:
        raise RefusedError(
            f"the approval of version {release.version} of {release.strategy} was withdrawn: it gets no traffic; "
            "approve it again, or `tidegate rollback`"
        )
    return approval


def _set_policy(room: ReleaseRoom, strategy: str) -> Pointer | None:
    """Write the policy that the releases want, deciding anew when somebody else was quicker; None: there is none.

    The policy is read before the ledger: whoever moved a release since has written another revision, and is noticed.
    """
    trouble: RefusedError | None = None
    for _ in range(_ATTEMPTS):
        before = room.store.pointer(strategy)
        waiting, opened = room.releases.unfinished(strategy), room.releases.current(strategy)
        try:
            return _write_policy(room, strategy, waiting, opened, before)
        except RefusedError as error:
            moved = room.store.pointer(strategy)
            if (moved.revision if moved else 0) == (before.revision if before else 0):
                raise
            trouble = error
    assert trouble is not None
    raise trouble


def _write_policy(
    room: ReleaseRoom, strategy: str, waiting: list[Release], opened: Release | None, before: Pointer | None
) -> Pointer | None:
    promoted = next((release for release in waiting if release.state is ReleaseState.CHAMPION), None)
    # A rollback wrote its own policy before its records: it is not for a release to write it again.
    if promoted is not None and room.releases.history(promoted.release_id)[-1].cause is not Cause.ROLLBACK:
        champion = approval_of(room, promoted)
    elif before is not None and before.approval is not None and not before.flat:
        champion = before.approval
    else:
        return before  # nobody answers, and none of these releases changes that
    known = before.approval if before is not None else None
    room.approvals.verify_chain([champion] if known is None else [champion, known])
    if opened is not None and opened.state in SCORED and opened.against == champion.model_digest:
        challenger, traffic = approval_of(room, opened), traffic_of(opened, policy_of(opened))
    elif promoted is None and before is not None and before.challenger is not None and has_experiment(room, before):
        challenger, traffic = before.challenger.approval, before.traffic
    else:
        challenger, traffic = None, CHAMPION_ONLY
    return room.store.set_policy(
        strategy,
        champion=champion,
        challenger=challenger,
        traffic=traffic,
        expected_revision=before.revision if before else 0,
    )


def has_experiment(room: ReleaseRoom, pointer: Pointer | None) -> bool:
    """Whether the challenger of a policy is an experiment's (``tidegate traffic experiment``), not a release's."""
    if pointer is None or pointer.challenger is None or pointer.flat:
        return False
    return all(pointer.traffic.salt != release.release_id for release in room.releases.releases(pointer.strategy))


def _take_back(room: ReleaseRoom, waiting: list[Release]) -> None:
    """Roll back a challenger that a test stopped: barred until a new approval, with the report of a rollback."""
    for release in waiting:
        before = room.store.pointer(release.strategy)
        challenger = before.challenger if before is not None else None
        if release.state is not ReleaseState.ROLLED_BACK or challenger is None:
            continue
        if challenger.model_digest != release.model_digest:
            continue
        last = room.releases.history(release.release_id)[-1]
        figures = last.figures.get("trigger", {})
        trigger = Trigger(
            kind=TriggerKind.HARM,
            severity=Severity.CRITICAL,
            strategy=release.strategy,
            arm=Arm.CHALLENGER,
            value=figures.get("value"),
            limit=figures.get("limit"),
            time_ns=room.clock.time_ns(),
            words=last.reason,
        )
        roll_back(room.store, release.strategy, trigger, actor=last.actor, clock=room.clock, version=release.version)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """One process applies a strategy's releases at a time. A rollback does not wait for it: it moves the revision."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".release-lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
