"""Who serves what, since when and why: registry, policies, releases and the replicas' own word, side by side."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core.errors import IntegrityError, UnavailableError
from core.params import section
from serving.release.approvals import Decision
from serving.release.attached import MODEL_TAG
from serving.release.effects import ReleaseRoom
from serving.release.publish import registry_client
from serving.release.release_registry import moment
from serving.release.states import Release
from serving.release.triggers import RollbackParameters
from serving.release.watch import check_release
from serving.store import Pointer
from serving.traffic.pointer import Standing
from serving.traffic.policy import Arm, Mode
from tidegate.platform import Addresses
from tidegate.release import release_room


def describe_models(addresses: Addresses, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions of a registered model, who of them serves, and where the stores disagree.

    Raises:
        UnavailableError: registry or database does not answer.
        IntegrityError: the approval ledger or the ledger of releases does not hold.
        BadInputError: the section ``rollback`` of the parameters is wrong.
    """
    with release_room(addresses) as room:
        room.releases.verify()
        pointer = _pointer(room, name)
        versions = list_versions(room, name, pointer)
        alerts = (
            check_release(name, name, settings=room.settings, ledger=room.approvals, store=room.store)
            if versions
            else []
        )
        serving = describe_serving(room, name, pointer, params)
    return {"models": versions, "serving": serving, "alerts": [alert.words for alert in alerts]}


def describe_serving(
    room: ReleaseRoom, strategy: str, pointer: Pointer | None, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return who answers for a strategy: champion and challenger with since and why, their shares, the release."""
    opened = room.releases.current(strategy)
    waiting = [] if opened is not None else room.releases.candidates(strategy)
    present = opened or (waiting[0] if waiting else None)
    positions = section(params, "rollback", RollbackParameters).positions
    described: dict[str, Any] = {
        "strategy": strategy,
        "revision": pointer.revision if pointer else 0,
        "mode": "nobody" if pointer is None or pointer.flat else str(pointer.traffic.mode),
        "flat": pointer.flat if pointer else "nothing was ever published",
        "champion": None,
        "challenger": None,
        "release": None if present is None else _release(present),
        "positions_on_rollback": str(positions),
    }
    if pointer is not None and not pointer.flat:
        champion = room.releases.champion(strategy)
        described["champion"] = _role(Arm.CHAMPION, pointer.champion, champion, 1.0 - _share(pointer))
        described["challenger"] = _role(Arm.CHALLENGER, pointer.challenger, opened, _share(pointer))
    return described


def list_versions(room: ReleaseRoom, name: str, pointer: Pointer | None) -> list[dict[str, Any]]:
    """Return the registered versions, newest first, each with verdict, latest decision, release and whether served.

    Raises:
        UnavailableError: registry or database does not answer.
        IntegrityError: the approval ledger does not hold.
    """
    from mlflow.exceptions import MlflowException

    try:
        versions = registry_client(room.settings).search_model_versions(f"name = '{name}'")
    except MlflowException as error:
        raise UnavailableError(f"the model registry does not answer: {str(error).splitlines()[0]}") from None
    decisions = {(record.version, record.model_digest): record for record in room.approvals.verify_chain()}
    releases = {release.version: release for release in room.releases.releases(name)}
    served = {} if pointer is None or pointer.flat else _served(pointer)
    rows: list[dict[str, Any]] = []
    for version in sorted(versions, key=lambda entry: -int(entry.version)):
        number, digest = str(version.version), str(version.tags.get("lineage.model_digest", ""))
        decision, release = decisions.get((number, digest)), releases.get(number)
        approved = decision is not None and decision.decision is Decision.APPROVED
        rows.append(
            {
                "name": name,
                "version": number,
                "model": version.tags.get(MODEL_TAG)
                or str(version.description or "").partition("\n")[0].partition(",")[0],  # of old versions
                "gate": version.tags.get("gate.verdict", "unknown"),
                "approval": f"{decision.decision}{f' ({decision.scope})' if approved else ''}" if decision else "none",
                "release": release.words if release else "",
                "since": moment(release.entered_ns) if release else "",
                "served": served.get((number, digest), ""),
                "created": datetime.fromtimestamp(int(version.creation_timestamp or 0) / 1000, UTC).isoformat(),
                "model_digest": digest,
                "run_id": version.run_id,
            }
        )
    return rows


def _pointer(room: ReleaseRoom, strategy: str) -> Pointer | None:
    """Return the policy in force; a damaged one is None, and ``check_release`` says why."""
    try:
        return room.store.pointer(strategy)
    except IntegrityError:
        return None


def _served(pointer: Pointer) -> dict[tuple[str, str], str]:
    share = _share(pointer)
    found: dict[tuple[str, str], str] = {}
    if pointer.champion is not None:
        words = "champion" if share == 0 else f"champion {1 - share:.3g}"
        found[pointer.champion.version, pointer.champion.model_digest] = words
    if pointer.challenger is not None:
        words = "shadow" if pointer.traffic.mode is Mode.SHADOW else f"{pointer.traffic.mode} {share:.3g}"
        found[pointer.challenger.version, pointer.challenger.model_digest] = words
    return found


def _share(pointer: Pointer) -> float:
    """The challenger's part of the decisions; of a blend its last weight."""
    return pointer.traffic.share if pointer.traffic.blend is None else pointer.traffic.blend.weight


def _role(arm: Arm, standing: Standing | None, release: Release | None, share: float) -> dict[str, Any] | None:
    if standing is None:
        return None
    approval = standing.approval
    described: dict[str, Any] = {
        "arm": str(arm),
        "version": standing.version,
        "model": standing.model_name,
        "model_digest": standing.model_digest,
        "share": share,
        "scope": str(approval.scope),
        "approved_by": approval.by,
        "approved": moment(approval.time_ns),
        "why": approval.reason,
        "since": moment(approval.time_ns),
        "bento": "",
    }
    if release is not None and release.model_digest == standing.model_digest:
        described |= {"since": moment(release.entered_ns), "release": release.release_id, "bento": release.bento}
    return described


def _release(release: Release) -> dict[str, Any]:
    return {
        "release": release.release_id,
        "version": release.version,
        "state": release.words,
        "since": moment(release.entered_ns),
    }
