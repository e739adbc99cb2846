"""Traffic of a strategy by hand: who answers what now, experiments beside the champion, the arm of a decision."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError

from core.clock import to_rfc3339
from core.errors import BadInputError, RefusedError
from serving.release.approval import Approval, Decision
from serving.release.effects import ReleaseRoom
from serving.release.findings import Findings
from serving.release.policy import Alphas
from serving.release.publish import fetch_package, registry_client
from serving.store import ModelStore, Pointer
from serving.traffic.assignment import assigned, block_of
from serving.traffic.blend import performance_weight
from serving.traffic.policy import CHAMPION_ONLY, Blend, Mode, Traffic, Weighting
from training.online.findings import findings_of
from training.online.rules import Comparison, OnlineRules
from training.online.watch import first_decision_after

RECENT_NS = 30 * 86_400 * 10**9  # market time over which a blend by performance compares
PERFORMANCE_RATE = 100.0  # a lead of one percent of equity gives a weight of 0.73
_WORTH_A_REVISION = 0.02  # of weight; below it the policy stays as it is


def describe_traffic(store: ModelStore, strategy: str, revisions: int) -> dict[str, Any]:
    """Return the policy in force and the newest ones before it.

    Raises:
        RefusedError: the strategy has none.
    """
    present = _present(store, strategy)
    rows: list[dict[str, Any]] = []
    for policy in store.policies(strategy):
        if len(rows) == revisions:
            break
        rows.append(_row(policy))
    return {"strategy": strategy, "traffic": msgspec.to_builtins(present.traffic), **rows[0], "revisions": rows}


def begin_experiment(room: ReleaseRoom, strategy: str, version: str, traffic: Traffic) -> dict[str, Any]:
    """Let an approved version share the decisions with the champion, outside any release.

    Raises:
        RefusedError: there is no champion, a release is under way, the version has no standing approval, or the traffic
            cannot be carried out; nothing is changed then.
        BadInputError: the registry has no such version.
        IntegrityError, UnavailableError: a ledger, a package or a server does not hold or answer.
    """
    present = _present(room.store, strategy)
    if present.flat or present.approval is None:
        raise RefusedError(f"strategy {strategy} has no champion that answers ({present.flat}); nothing was changed")
    release = room.releases.current(strategy)
    if release is not None:
        raise RefusedError(
            f"version {release.version} of {strategy} is being released ({release.words}): a release and an experiment "
            "would share the same decisions; wait for it or `tidegate release abandon`"
        )
    traffic.check(challenger=True)
    challenger = _approval(room, strategy, version)
    if not (room.store.package_folder(strategy, challenger.evidence_digest) / "evidence.json").is_file():
        with TemporaryDirectory(prefix="tidegate-package-") as folder:
            room.store.add(fetch_package(registry_client(room.settings), strategy, version, Path(folder)))
    policy = room.store.set_policy(
        strategy,
        champion=present.approval,
        challenger=challenger,
        traffic=traffic,
        expected_revision=present.revision,
    )
    return _row(policy)


def end_experiment(room: ReleaseRoom, strategy: str) -> dict[str, Any]:
    """Give every decision back to the champion.

    Raises:
        RefusedError: the challenger is a release's, or there is none.
        IntegrityError, UnavailableError: a ledger does not hold or answer.
    """
    present = _present(room.store, strategy)
    release = room.releases.current(strategy)
    if present.challenger is None or present.approval is None:
        raise RefusedError(f"strategy {strategy} has no experiment; nothing was changed")
    if release is not None and release.model_digest == present.challenger.model_digest:
        raise RefusedError(
            f"version {release.version} of {strategy} is being released: `tidegate release abandon` or "
            "`tidegate rollback` ends that"
        )
    policy = room.store.set_policy(strategy, champion=present.approval, expected_revision=present.revision)
    return _row(policy)


def describe_arm(
    store: ModelStore, strategy: str, instrument: str, time_ns: int, revision: int | None
) -> dict[str, Any]:
    """Return the arm that a policy gives a decision, from the policy alone.

    Raises:
        RefusedError: the strategy has no policy.
        BadInputError: there is no such revision.
    """
    policy = _present(store, strategy)
    if revision is not None:
        found = store.policy_at(strategy, revision)
        if found is None:
            raise BadInputError(f"strategy {strategy} has no policy {revision}: the newest is {policy.revision}")
        policy = found
    traffic = policy.traffic
    arm = assigned(traffic, strategy, instrument, time_ns)
    blend = traffic.blend
    return {
        "strategy": strategy,
        "instrument": instrument,
        "time": to_rfc3339(time_ns),
        "revision": policy.revision,
        "mode": traffic.mode.value,
        "share": traffic.share,
        "block": block_of(traffic, time_ns),
        "arm": arm.value,
        "weight": None if blend is None else blend.weight_at(time_ns),
        "versions": [standing.version for standing in policy.standing(arm)],
        "flat": policy.flat,
    }


def reweigh(room: ReleaseRoom, strategy: str, params: Mapping[str, Any]) -> Pointer | None:
    """Move the weight of a blend by performance to where the money went; None: nothing to move.

    The release service calls this at every turn. Net returns are those of the online tests: both versions over the
    same decisions of the last 30 days of the market, after cost, as if each had traded all of them.
    """
    present = room.store.pointer(strategy)
    blend = present.traffic.blend if present is not None else None
    if present is None or blend is None or blend.weighting is not Weighting.PERFORMANCE or present.challenger is None:
        return None
    engine = room.approvals.engine
    since = max(blend.start_ns, first_decision_after(engine, strategy) - RECENT_NS)
    comparison = Comparison(strategy, present.model_digest, present.challenger.model_digest, since)
    try:
        findings = findings_of(engine, comparison, OnlineRules.from_params(params, Alphas()))
    except DBAPIError:
        return None  # the weight stands still while the ledger is away; the turn itself has said so
    moved = moved_blend(blend, findings, comparison.champion, comparison.challenger)
    if moved is None:
        return None
    return room.store.set_policy(
        strategy,
        champion=present.approval,
        challenger=present.challenger.approval,
        traffic=msgspec.structs.replace(present.traffic, blend=moved),
        expected_revision=present.revision,
    )


def moved_blend(blend: Blend, findings: Findings, champion: str, challenger: str) -> Blend | None:
    """Return a blend with the weight that two models' net returns give it; None where that is no news."""
    returns = {figures.model_digest: figures.net_return for figures in findings.arms}
    if not findings.decisions or not {champion, challenger} <= set(returns):
        return None
    weight = performance_weight([returns[champion]], [returns[challenger]], PERFORMANCE_RATE)
    if abs(weight - blend.weight) < _WORTH_A_REVISION:
        return None
    return msgspec.structs.replace(blend, first=weight, weight=weight)


def _present(store: ModelStore, strategy: str) -> Pointer:
    present = store.pointer(strategy)
    if present is None:
        raise RefusedError(f"strategy {strategy} has no champion yet: `tidegate approve VERSION` first")
    return present


def _approval(room: ReleaseRoom, strategy: str, version: str) -> Approval:
    """Return the standing approval of a version."""
    named = [one for one in room.approvals.verify_chain() if (one.strategy, one.version) == (strategy, version)]
    last = next((one for one in reversed(named) if one.decision is Decision.APPROVED), None)
    standing = None if last is None else room.approvals.standing(last.model_digest, strategy=strategy)
    if standing is None or standing.version != version:
        raise RefusedError(f"version {version} of {strategy} has no standing approval: approve it first")
    return standing


def _row(policy: Pointer) -> dict[str, Any]:
    traffic, second = policy.traffic, policy.challenger
    share = traffic.blend.weight if traffic.blend is not None else traffic.share
    return {
        "revision": policy.revision,
        "mode": "flat" if policy.flat else traffic.mode.value,
        "champion": policy.version,
        "challenger": second.version if second else "",
        "share": share,
        "salt": traffic.salt,
        "flat": policy.flat,
    }


def experiment_traffic(
    mode: Mode, share: float, block_seconds: int, name: str, weight: float, weighting: Weighting, start_ns: int
) -> Traffic:
    """Return the traffic that the options of a command mean.

    Raises:
        BadInputError: an experiment cannot have this mode.
    """
    if mode is Mode.AB:
        return msgspec.structs.replace(CHAMPION_ONLY, mode=mode, share=share, block_seconds=block_seconds, salt=name)
    if mode is Mode.SHADOW:
        return msgspec.structs.replace(CHAMPION_ONLY, mode=mode, salt=name)
    if mode is Mode.BLEND:
        blend = Blend(weighting=weighting, first=weight, weight=weight, start_ns=start_ns, end_ns=start_ns)
        return msgspec.structs.replace(CHAMPION_ONLY, mode=mode, salt=name, blend=blend)
    raise BadInputError(f"an experiment is ab, blend or shadow, not {mode}: a canary is a step of a release")
