"""The later steps of a rollback that this room can do: ledgers, registry, check of the replicas, notification.

Each is an ``Action`` of ``rollback_completion``: it may be repeated and doubles nothing, and says what came of it.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.errors import IntegrityError, UnavailableError
from core.settings import Settings
from serving.release.approval import Decision, Scope
from serving.release.approvals import ApprovalLedger
from serving.release.findings import Severity
from serving.release.notifications import Notification, NotificationSink
from serving.release.publish import CHAMPION_ALIAS, registry_client
from serving.release.releases import Releases
from serving.release.rollback_completion import Action
from serving.release.rollback_record import RollbackRecord
from serving.release.states import OPEN, Cause, ReleaseState, Transition

if TYPE_CHECKING:
    from mlflow import MlflowClient

ACTOR = "tidegate"
SCORED_ALIASES = ("challenger", "shadow")
_LOOKS, _LOOK_SECONDS = 30, 0.05  # replicas say four times a second which policy they carry out


def notification_action(sink: NotificationSink, link: Callable[[RollbackRecord], str]) -> Action:
    """Tell people. ``link`` gives the address of the report."""

    def act(record: RollbackRecord) -> str:
        taken = ", ".join(record.taken_back)
        return sink.send(
            Notification(
                notification_id=f"rollback:{record.strategy}:{record.rollback_id}",
                time_ns=record.time_ns,
                severity=Severity.CRITICAL,
                subject=f"{record.strategy}: version {taken} taken back, {record.target_words} answers",
                words=(
                    f"{record.trigger.words}. By {record.actor}. Version {taken} stays barred until somebody approves "
                    f"it anew; open positions: {record.positions}."
                ),
                figures={
                    "trigger": record.trigger.kind.value,
                    "value": record.trigger.value,
                    "limit": record.trigger.limit,
                    "revision": record.revision,
                },
                link=link(record),
            )
        )

    return act


def approvals_action(ledger: Callable[[], ApprovalLedger]) -> Action:
    """Reject what is barred in the approval ledger, unless a person approved it anew meanwhile."""

    def act(record: RollbackRecord) -> str:
        found, done = ledger(), list[str]()
        records = found.records()
        for bar in record.bars:
            later = [
                other
                for other in records
                if (other.strategy, other.model_digest) == (record.strategy, bar.model_digest)
                and other.sequence > bar.approval_sequence
                and other.decision is Decision.APPROVED
            ]
            if later:
                done.append(f"version {bar.version} was approved anew meanwhile (approval {later[-1].sequence})")
                continue
            written = found.append(
                strategy=record.strategy,
                version=bar.version,
                model_digest=bar.model_digest,
                evidence_digest=bar.evidence_digest,
                decision=Decision.REJECTED,
                scope=Scope.PAPER,
                by=ACTOR,
                reason=f"rollback {record.rollback_id} by {record.actor}: {bar.reason}",
                review=f"rollback:{record.strategy}:{record.rollback_id}:{bar.version}",
            )
            done.append(f"version {bar.version} rejected (approval record {written.sequence})")
        return "; ".join(done)

    return act


def release_action(releases: Callable[[], Releases]) -> Action:
    """End the releases of what was taken back, and give an earlier champion its place back."""

    def act(record: RollbackRecord) -> str:
        ledger, done = releases(), list[str]()
        figures = {
            "rollback": record.rollback_id,
            "trigger": record.trigger.kind.value,
            "value": record.trigger.value,
            "limit": record.trigger.limit,
            "revision": record.revision,
        }
        reason = f"rollback {record.rollback_id}: {record.trigger.words}"
        for bar in record.bars:
            for release in ledger.releases(record.strategy):
                of_it = (release.version, release.model_digest) == (bar.version, bar.model_digest)
                if not of_it or release.approval > bar.approval_sequence:
                    continue  # another version, or one that was approved anew
                if release.state in OPEN or release.state is ReleaseState.CHAMPION:
                    draft = Transition(
                        to=ReleaseState.ROLLED_BACK, cause=Cause.ROLLBACK, reason=reason, figures=figures
                    )
                    ledger.append(release.release_id, draft, actor=record.actor, expected=release.sequence)
                elif release.state is not ReleaseState.ROLLED_BACK:
                    continue
                done.append(f"{release.release_id} is rolled back")
        champion = record.before.approval
        if record.target is not None and (champion is None or champion.hash != record.target.hash):
            restored = ledger.reinstate(record.target, reason=reason, actor=record.actor, figures=figures)
            done.append(f"{restored.release_id} is champion again")
        return "; ".join(done) or "no release was under way"

    return act


def registry_action(settings: Settings) -> Action:
    """Set aliases and tags of the registry, for the people who look there. It decides nothing (law 4)."""

    def act(record: RollbackRecord) -> str:
        from mlflow.exceptions import MlflowException

        client, name = registry_client(settings), record.strategy
        try:
            _set_champion(client, name, record.target.version if record.target is not None else None)
            registered = client.get_registered_model(name)
            aliases = {str(alias): str(version) for alias, version in dict(registered.aliases).items()}
            for alias in SCORED_ALIASES:
                if aliases.get(alias) in record.taken_back:
                    client.delete_registered_model_alias(name, alias)
            for version in record.taken_back:
                tags = {
                    "release.state": ReleaseState.ROLLED_BACK.value,
                    "release.rollback": record.rollback_id,
                    "release.rolled_back_because": record.trigger.words[:500],
                    "release.barred": "until it is approved anew",
                }
                for key, value in tags.items():
                    client.set_model_version_tag(name, version, key, value)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return f"the registry has no such version: {str(error).splitlines()[0]}"
            raise UnavailableError(f"the registry does not answer: {str(error).splitlines()[0]}") from error
        return f"alias {CHAMPION_ALIAS}: {record.target_words}; tagged rolled back: {', '.join(record.taken_back)}"

    return act


def check_action(
    answering: Callable[[str], dict[str, int]],
    seconds: float,
    now: Callable[[], int],
    wait: Callable[[float], None] = time.sleep,
) -> Action:
    """Check that the replicas answer with the new policy.

    Args:
        answering: the policy revision each living replica answers with, by its name.
        seconds: after which a replica that still answers with an older one is reported, not waited for.
        now: UTC nanoseconds.
        wait: for so many seconds.

    Raises (the action):
        UnavailableError: some replica is not there yet; look again.
    """

    def look(record: RollbackRecord, revision: int) -> tuple[dict[str, int], list[str], float]:
        found = answering(record.strategy)
        late = sorted(name for name, standing in found.items() if standing < revision)
        return found, late, (now() - record.trigger.time_ns) / 1e9

    def act(record: RollbackRecord) -> str:
        revision = record.revision
        if revision is None:
            raise IntegrityError(f"rollback {record.rollback_id} of {record.strategy} has no revision")
        found, late, waited = look(record, revision)
        for _ in range(_LOOKS):
            if not late or waited >= seconds:
                break
            wait(_LOOK_SECONDS)
            found, late, waited = look(record, revision)
        if late and waited < seconds:
            raise UnavailableError(f"{', '.join(late)} does not answer with revision {revision} yet")
        if late:
            return f"NOT CONFIRMED after {waited:.1f} s: {', '.join(late)} answers with an older policy; restart it"
        if not found:
            return "no replica runs: the policy holds from its next start on"
        return f"{len(found)} replica(s) answer with revision {revision} or newer, {waited:.2f} s after the trigger"

    return act


def _set_champion(client: "MlflowClient", name: str, version: str | None) -> None:
    if version is None:
        client.delete_registered_model_alias(name, CHAMPION_ALIAS)
    else:
        client.set_registered_model_alias(name, CHAMPION_ALIAS, version)
