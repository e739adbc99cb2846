"""What people and the release service ask of a release: carry on, promote, give up, show."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from core.errors import BadInputError, RefusedError
from serving.release.advance import (
    abandon,
    advance,
    entry_checks,
    open_release,
    promote_now,
    refuse_second,
    waiting_approvals,
)
from serving.release.effects import ReleaseRoom, build_bentos, policy_of
from serving.release.machine import figures_of, missing
from serving.release.publish import fetch_package, registry_client
from serving.release.release_registry import moment, state_words
from serving.release.states import SCORED, Release, ReleaseState, TransitionRecord
from tidegate.platform import Addresses
from tidegate.release import newest_release, release_policy, release_room
from training.online.watch import findings_of_release, release_watch

Params = Mapping[str, Any]


def advance_releases(addresses: Addresses, strategy: str, params: Params, *, bentos: bool = True) -> dict[str, Any]:
    """Carry on the releases of a strategy once; return the states reached and where it stands.

    The release service calls this every few seconds, the flow and the commands when they are asked.

    Raises:
        RefusedError, IntegrityError, UnavailableError: as ``serving.release.advance.advance``.
        BadInputError: a section of the parameters is wrong.
    """
    policy = release_policy(params)
    with release_room(addresses) as room:
        reached = advance(room, strategy, policy, release_watch(room.approvals.engine, params))
        built = build_bentos(room, strategy) if bentos else {}
        present = room.releases.current(strategy)
        return {
            "strategy": strategy,
            "reached": [{"release": release.release_id, "state": release.words} for release in reached],
            "bentos": built,
            "present": None if present is None else _describe(room, present, params),
        }


def promote(
    addresses: Addresses, name: str, version: str, params: Params, *, now: bool, by: str, reason: str
) -> dict[str, Any]:
    """Take an approved version on: begin its release, or the next step when its tests hold; ``now``: to champion.

    Args:
        addresses: of the platform.
        name: registered model, which is the strategy.
        version: of the model.
        params: content of the workspace's ``params.yaml``.
        now: make it the champion whatever the tests say, recorded as what this person did.
        by, reason: who asks and why; a reason is needed with ``now``.

    Raises:
        RefusedError: it has no approval, another version is being released, it is the champion already, or a test does
            not hold; nothing is changed then.
        BadInputError: there is no such version, or no reason.
        IntegrityError, UnavailableError: a ledger, a package or a server does not hold or answer.
    """
    if now and not reason.strip():
        raise BadInputError("to promote a version at once needs a reason: `--reason …`; nothing was changed")
    policy = release_policy(params)
    with release_room(addresses) as room:
        refuse_second(room, name, version)
        present = room.releases.current(name)
        pointer = room.store.pointer(name)
        if present is None and pointer is not None and not pointer.flat and pointer.version == version:
            raise RefusedError(f"version {version} of {name} is the champion already; nothing was changed")
        if present is None:
            _begin(room, name, version, params)
        reached = advance(room, name, policy, release_watch(room.approvals.engine, params))
        present = room.releases.current(name)
        if now and present is not None and present.version == version:
            reached.append(promote_now(room, present, actor=by, reason=reason))
        release = newest_release(room, name, version)
        if not reached:
            waits = "; ".join(_waits(room, release, params)) or f"it is {release.words}"
            raise RefusedError(
                f"version {version} of {name} stays in {release.words}: {waits}. Wait, or `tidegate promote {version} "
                "--now --reason …`; nothing was changed"
            )
        return {"reached": [r.words for r in reached], **_describe(room, release, params)}


def abandon_release(addresses: Addresses, name: str, params: Params, *, by: str, reason: str) -> dict[str, Any]:
    """Give up the release of a strategy that is under way: its version gets no more traffic.

    Raises:
        RefusedError: nothing is being released.
        BadInputError: no reason.
        IntegrityError, UnavailableError: a ledger or a server does not hold or answer.
    """
    with release_room(addresses) as room:
        waiting = room.releases.candidates(name)
        present = room.releases.current(name) or (waiting[0] if waiting else None)
        if present is None:
            raise RefusedError(f"nothing of {name} is being released: `tidegate release list`")
        abandon(room, present, actor=by, reason=reason)
        return _describe(room, room.releases.get(present.release_id), params)


def show_release(addresses: Addresses, name: str, release_id: str | None, params: Params) -> dict[str, Any]:
    """Return one release with its timeline, what was found and what it waits for; the newest when none is named.

    Raises:
        BadInputError: there is no such release, or none at all.
        IntegrityError: the ledger of releases does not hold.
        UnavailableError: the database does not answer.
    """
    with release_room(addresses) as room:
        room.releases.verify()
        if release_id is not None:
            return _describe(room, room.releases.get(release_id), params)
        present = room.releases.current(name) or room.releases.champion(name)
        every = room.releases.releases(name)
        if not every:
            raise BadInputError(f"no version of {name} was ever released: `tidegate approve VERSION --reason …`")
        return _describe(room, present or every[-1], params)


def list_releases(addresses: Addresses, name: str | None) -> dict[str, Any]:
    """Return every release of a strategy (None: of all), oldest first, and the approvals that wait for one.

    Raises:
        IntegrityError: a ledger does not hold.
        UnavailableError: the database does not answer.
    """
    with release_room(addresses) as room:
        room.releases.verify()
        rows = sorted(room.releases.releases(name), key=lambda release: release.opened_ns)
        waiting = waiting_approvals(room, name) if name else []
        return {
            "releases": [_row(room, release) for release in rows],
            "waiting": [{"version": a.version, "by": a.by, "approved": moment(a.time_ns)} for a in waiting],
        }


def _begin(room: ReleaseRoom, name: str, version: str, params: Params) -> None:
    """Open the release of an approved version whose package holds."""
    with TemporaryDirectory(prefix="tidegate-package-") as folder:
        package = fetch_package(registry_client(room.settings), name, version, Path(folder))
        approval = room.approvals.standing(package.model_digest, strategy=name)
        if approval is None or (approval.version, approval.evidence_digest) != (version, package.evidence_digest):
            raise RefusedError(
                f"version {version} of {name} has no standing approval: `tidegate approve {version} --reason …`, or "
                "approve it in MLflow; nothing was changed"
            )
        room.store.add(package)
    open_release(room, approval, release_policy(params))


def _waits(room: ReleaseRoom, release: Release, params: Params) -> list[str]:
    """Say what a release waits for."""
    policy = policy_of(release)
    if release.state in SCORED:
        scope = entry_checks(room, release).scope_problem
        found = findings_of_release(room.approvals.engine, release, params)
        return [*missing(release, policy, found), *([scope] if scope else [])]
    if release.state is ReleaseState.CANDIDATE:
        return ["an approval" if not policy.four_eyes else "the approvals of two people"]
    if release.state is ReleaseState.APPROVED:
        words = entry_checks(room, release).comparison_problem
        return [words or "a person: the first champion is promoted with `tidegate promote --now`"]
    return []


def _describe(room: ReleaseRoom, release: Release, params: Params) -> dict[str, Any]:
    found = figures_of(findings_of_release(room.approvals.engine, release, params)) if release.state in SCORED else {}
    return {
        **_row(room, release),
        "against": release.against,
        "model_digest": release.model_digest,
        "policy": msgspec.to_builtins(policy_of(release)),
        "waits_for": _waits(room, release, params),
        **found,
        "timeline": [_line(record) for record in room.releases.history(release.release_id)],
    }


def _row(room: ReleaseRoom, release: Release) -> dict[str, Any]:
    last = room.releases.history(release.release_id)[-1]
    return {
        "release": release.release_id,
        "strategy": release.strategy,
        "version": release.version,
        "state": release.words,
        "since": moment(release.entered_ns),
        "opened": moment(release.opened_ns),
        "by": last.actor,
        "reason": last.reason,
        "applied": release.applied >= release.sequence,
        "bento": release.bento,
    }


def _line(record: TransitionRecord) -> dict[str, Any]:
    return {
        "sequence": record.sequence,
        "time": moment(record.time_ns),
        "from": record.before,
        "to": state_words(record),
        "cause": str(record.cause),
        "by": record.actor,
        "reason": record.reason,
        "figures": {name: value for name, value in record.figures.items() if name != "policy"},
        "hash": record.hash,
    }
