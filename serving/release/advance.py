"""Carry the releases of a strategy on: take up waiting approvals, ask the rules, write what they say, apply it.

May be called at any time by any process, also after a kill: what was written is kept, what is missing is done. Of two
processes that decide at the same moment one writes; the other looks again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from core.errors import IntegrityError, RefusedError
from core.logging import get_logger
from serving.release.approval import Approval, Decision, Scope
from serving.release.bars import read_bars
from serving.release.effects import ReleaseRoom, apply, ensure_package, has_experiment, policy_of
from serving.release.evidence import Manifest, check_documents, verify_package
from serving.release.findings import Findings
from serving.release.machine import EntryChecks, next_transition
from serving.release.policy import ReleasePolicy
from serving.release.rollback import strategy_folder
from serving.release.states import OPEN, SCORED, Cause, Release, ReleaseState, Transition
from serving.traffic.pointer import Standing

ACTOR = "tidegate"
_LONGEST_WAY = 32  # transitions and new releases of one call; what is left waits for the next
_log = get_logger("serving")


@dataclass(frozen=True)
class Watch:
    """What the rules are asked with, from rooms above this one.

    Attributes:
        findings: what the online tests found of a release that is scored; None: nothing is known yet.
        market_ns: the time of the market at which the strategy's last decision was made; 0: none yet.
    """

    findings: Callable[[Release], Findings | None]
    market_ns: Callable[[str], int]


def advance(room: ReleaseRoom, strategy: str, policy: ReleasePolicy, watch: Watch) -> list[Release]:
    """Carry on the releases of a strategy; return every state that was reached, in its order.

    Args:
        room: ledgers, store and registry.
        strategy: whose releases.
        policy: what a release that is opened now goes by; one under way keeps its own.
        watch: findings and market time.

    Raises:
        RefusedError: what the releases want cannot be done; the message says why.
        IntegrityError: a ledger or a package does not hold.
        UnavailableError: registry or database does not answer; call again.
    """
    _apply_if_possible(room, strategy)
    reached: list[Release] = []
    for _ in range(_LONGEST_WAY):
        moved = _step(room, strategy, watch)
        if moved is not None:
            reached.append(moved)
            continue
        apply(room, strategy)
        if adopt(room, strategy, policy) is None:
            break
    return reached


def adopt(room: ReleaseRoom, strategy: str, policy: ReleasePolicy) -> Release | None:
    """Open a release for the oldest approval that waits for one; None where none waits or the place is taken."""
    if room.releases.current(strategy) is not None:
        return None
    waiting = waiting_approvals(room, strategy)
    return open_release(room, waiting[0], policy) if waiting else None


def waiting_approvals(room: ReleaseRoom, strategy: str) -> list[Approval]:
    """Return the approvals that stand and were never released, oldest first.

    Approvals from before the champion's are none of them: somebody has decided on a later version since.
    """
    decided = room.approvals.verify_chain()
    latest: dict[str, Approval] = {}
    for record in decided:
        if record.strategy == strategy and record.decision in (Decision.APPROVED, Decision.REJECTED):
            latest[record.model_digest] = record
    pointer = room.store.pointer(strategy)
    seen = [pointer.approval.sequence] if pointer is not None and pointer.approval is not None else []
    releases = room.releases.releases(strategy)
    floor = max([*seen, *(release.approval for release in releases)], default=0)
    going = OPEN | {ReleaseState.CANDIDATE, ReleaseState.CHAMPION}  # these follow their approvals by themselves
    taken = {release.version for release in releases if release.state in going}
    standing = [record for record in latest.values() if record.decision is Decision.APPROVED]
    # An unsigned approval is from before there were signatures: it goes on serving, and nothing new is released on it.
    found = [r for r in standing if r.signed and r.sequence > floor and r.version not in taken]
    return sorted((r for r in found if not is_barred(room, r)), key=lambda record: record.sequence)


def open_release(room: ReleaseRoom, approval: Approval, policy: ReleasePolicy) -> Release:
    """Begin the release of a version as a candidate; one that has begun is returned as it is.

    Its record is the same whoever begins it, the command or, after a kill of that, the release service.

    Raises:
        RefusedError: another version of the strategy is being released.
        IntegrityError, UnavailableError: a ledger does not hold or answer.
    """
    refuse_second(room, approval.strategy, approval.version)
    same = [r for r in room.releases.candidates(approval.strategy) if r.version == approval.version]
    present = room.releases.current(approval.strategy)
    if present is not None:
        return present
    if same:
        return same[0]
    return room.releases.open(
        strategy=approval.strategy,
        version=approval.version,
        model_digest=approval.model_digest,
        evidence_digest=approval.evidence_digest,
        policy=policy.document(),
        cause=Cause.REVIEWER,
        reason=f"{approval.decision} for {approval.scope}: {approval.reason}",
        actor=approval.by,
    )


def refuse_second(room: ReleaseRoom, strategy: str, version: str) -> None:
    """Refuse a release while another version of the strategy is being released.

    Raises:
        RefusedError: naming the other one and what can be done.
    """
    present = room.releases.current(strategy)
    if present is not None and present.version != version:
        raise RefusedError(
            f"version {present.version} of {strategy} is being released ({present.words}): one release at a time; wait "
            f"for its end or `tidegate release abandon --reason …`; nothing was changed"
        )


def promote_now(room: ReleaseRoom, release: Release, *, actor: str, reason: str) -> Release:
    """Make the version of an open release the champion because a person says so, and apply it.

    Raises:
        RefusedError: its approval does not stand, or the release is not open.
        BadInputError: no reason.
        IntegrityError: the package does not hold.
        UnavailableError: registry or database does not answer; the promotion may be recorded, the rest follows later.
    """
    if not release.open:
        raise RefusedError(f"release {release.release_id} is {release.words}: there is nothing to promote")
    checks = entry_checks(room, release)
    if checks.approval is None:
        raise RefusedError(
            f"version {release.version} of {release.strategy} has no standing approval: "
            f"`tidegate approve {release.version} --reason …` first; nothing was changed"
        )
    if has_experiment(room, room.store.pointer(release.strategy)):
        raise RefusedError(
            f"an experiment of {release.strategy} compares a version with the champion that stands: `tidegate traffic "
            "end` first; nothing was changed"
        )
    ensure_package(room, release)
    verify_package(room.store.package_folder(release.strategy, release.evidence_digest))
    figures = {"manual": True, "from": release.words}
    transition = Transition(to=ReleaseState.CHAMPION, cause=Cause.OPERATOR, reason=reason, figures=figures)
    moved = room.releases.append(release.release_id, transition, actor=actor, expected=release.sequence)
    apply(room, release.strategy)
    return moved


def abandon(room: ReleaseRoom, release: Release, *, actor: str, reason: str) -> Release:
    """Give a release up, and apply it: its version gets no more traffic.

    Raises:
        RefusedError: the release has ended or is the champion.
        BadInputError, IntegrityError, UnavailableError: as ``promote_now``.
    """
    transition = Transition(to=ReleaseState.RETIRED, cause=Cause.OPERATOR, reason=reason)
    if release.state is ReleaseState.CHAMPION:
        raise RefusedError(
            f"release {release.release_id} is the champion: `tidegate rollback --reason …` takes it back; nothing was "
            "changed"
        )
    moved = room.releases.append(release.release_id, transition, actor=actor, expected=release.sequence)
    apply(room, release.strategy)
    return moved


def entry_checks(room: ReleaseRoom, release: Release) -> EntryChecks:
    """Find out what must hold before a release may go anywhere.

    Raises:
        IntegrityError: the ledger of approvals or the policy on disk does not hold.
        UnavailableError: registry or database does not answer.
    """
    records = [
        record
        for record in room.approvals.verify_chain()
        if (record.strategy, record.model_digest) == (release.strategy, release.model_digest)
    ]
    decided = [record for record in records if record.decision in (Decision.APPROVED, Decision.REJECTED)]
    latest = decided[-1] if decided else None
    exactly = latest is not None and (latest.version, latest.evidence_digest) == (
        release.version,
        release.evidence_digest,
    )
    approved = latest is not None and latest.decision is Decision.APPROVED and exactly
    since = max((r.sequence for r in records if r.decision is Decision.REJECTED), default=0)
    people = {r.user or r.by for r in records if r.sequence > since and r.decision is not Decision.REJECTED}
    pointer = room.store.pointer(release.strategy)
    champion = pointer.champion if pointer is not None and not pointer.flat else None
    package = comparison = ""
    folder = room.store.package_folder(release.strategy, release.evidence_digest)
    if approved and folder.exists():
        try:
            manifest, _ = check_documents(folder)
        except IntegrityError as error:
            package = error.message
        else:
            if champion is not None:
                other = Manifest.load(room.store.package_folder(release.strategy, champion.evidence_digest))
                if other.feature_digest != manifest.feature_digest:
                    comparison = (
                        "it was made for other features than the champion, both cannot be asked with one request: "
                        f"`tidegate promote {release.version} --now --reason …` replaces the champion"
                    )
    if has_experiment(room, pointer):
        comparison = "an experiment has the place beside the champion: `tidegate traffic end` ends it"
    return EntryChecks(
        approval=latest if approved else None,
        approvers=len(people),
        rejected=latest is not None and latest.decision is Decision.REJECTED,
        champion=champion.model_digest if champion is not None else "",
        package_problem=package,
        comparison_problem=comparison,
        scope_problem=_scope_problem(latest, champion) if approved else "",
    )


def _scope_problem(approval: Approval | None, champion: Standing | None) -> str:
    """Why a version may be scored beside a champion and not trade in its place."""
    if approval is None or champion is None or approval.scope is Scope.LIVE or champion.approval.scope is Scope.PAPER:
        return ""
    return (
        "the champion is approved for live accounts, this version for paper: "
        f"`tidegate approve {approval.version} --scope live --reason …`"
    )


def is_barred(room: ReleaseRoom, approval: Approval) -> bool:
    """Whether a rollback barred an approval on this machine."""
    bars = read_bars(strategy_folder(room.store, approval.strategy))
    return any(bar.approval_hash == approval.hash for bar in bars)


def _step(room: ReleaseRoom, strategy: str, watch: Watch) -> Release | None:
    """Take one transition of the strategy: of the open release, else of a candidate, else of the champion."""
    present, champion = room.releases.current(strategy), room.releases.champion(strategy)
    asked = [present] if present is not None else room.releases.candidates(strategy)
    for release in [*asked, *([champion] if champion is not None else [])]:
        moved = _ask(room, release, watch)
        if moved is not None:
            return moved
    return None


def _ask(room: ReleaseRoom, release: Release, watch: Watch) -> Release | None:
    if release.state in OPEN:
        ensure_package(room, release)
    checks = entry_checks(room, release)
    if checks.approval is not None and is_barred(room, checks.approval):
        return None  # a rollback is writing its records: they come before anything else
    findings = watch.findings(release) if release.state in SCORED else None
    transition = next_transition(release, policy_of(release), findings, room.clock.time_ns(), checks)
    if transition is None:
        return None
    if transition.to in SCORED | {ReleaseState.CHAMPION} and transition.to is not release.state:
        transition = _loadable(room, release, transition)
    if transition.to is ReleaseState.SHADOW and transition.to is not release.state:
        transition = msgspec.structs.replace(transition, market_ns=watch.market_ns(release.strategy))
    try:
        moved = room.releases.append(release.release_id, transition, actor=ACTOR, expected=release.sequence)
    except RefusedError as error:
        if room.releases.get(release.release_id).sequence == release.sequence:
            raise
        _log.info("release was moved by another process", release=release.release_id, words=error.message)
        return None
    _log.info("release", release=release.release_id, state=moved.words, reason=transition.reason)
    return moved


def _loadable(room: ReleaseRoom, release: Release, transition: Transition) -> Transition:
    """Load the version before it gets traffic: one that does not answer its recorded inputs is rejected instead."""
    try:
        verify_package(room.store.package_folder(release.strategy, release.evidence_digest))
    except IntegrityError as error:
        return Transition(to=ReleaseState.REJECTED, cause=Cause.RULES, reason=error.message)
    return transition


def _apply_if_possible(room: ReleaseRoom, strategy: str) -> None:
    """Apply what an earlier call left. A refusal (an approval withdrawn meanwhile) is for the rules to answer."""
    try:
        apply(room, strategy)
    except RefusedError as error:
        _log.warning("release cannot be applied as it is", strategy=strategy, words=error.message)
