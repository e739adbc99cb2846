"""What the release service repeats with registry and database: decisions of reviewers, releases, alerts, Bentos."""

from collections.abc import Callable, Mapping
from typing import Any

from core.clock import NANOSECONDS, Clock
from core.errors import UnavailableError
from core.logging import get_logger
from core.settings import Settings
from flows.resume import resume_decided
from serving.release.access import AccessLog
from serving.release.advance import Watch, advance
from serving.release.alerts import AlertLedger, AlertRecord, Event
from serving.release.approvals import ApprovalLedger
from serving.release.effects import ReleaseRoom, build_bentos, resume_all
from serving.release.findings import Findings, Severity
from serving.release.notifications import Notification
from serving.release.policy import ReleasePolicy
from serving.release.publish import registry_client
from serving.release.releases import Releases
from serving.release.review_requests import ReviewRequests
from serving.release.reviews import remind, watch_once
from serving.release.signing import ApprovalKeys
from serving.release.states import Release
from serving.release.watch import ReleaseWatch
from serving.release.webhooks import ensure_webhook
from serving.store import ModelStore
from tidegate.rollback import Database
from tidegate.traffic import reweigh
from training.online.watch import release_watch

_log = get_logger("tidegate")
_TOLD_AGAIN_NS = 3600 * NANOSECONDS


class ReleaseWork:
    """One strategy's releases.

    Args:
        settings: name registry and state directory.
        strategy: also the registered model.
        params: content of the workspace's ``params.yaml``.
        database: of the platform.
        clock: of the machine.
        tell: takes notifications; may not block.

    Raises:
        BadInputError: the section ``release`` of the parameters cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        strategy: str,
        params: Mapping[str, Any],
        database: Database,
        clock: Clock,
        tell: Callable[[Notification], object],
    ) -> None:
        self._settings = settings
        self._strategy = strategy
        self._params = params
        self._policy = ReleasePolicy.read(params)
        self._database = database
        self._clock = clock
        self._tell = tell
        self._access: AccessLog | None = None
        self._compared: ReleaseWatch | None = None
        self._asked_for_webhooks = False
        self._told = -1  # the last alert that was told of; below zero: not looked yet
        self.findings: dict[str, Findings] = {}  # what the online tests said last, by strategy
        self.told_of: Callable[[], object] = lambda: None  # called when a reviewer has decided

    def room(self) -> ReleaseRoom:
        """Return ledgers, store and registry.

        Raises:
            UnavailableError: there is no database, or it does not answer.
        """
        engine = self._database.engine()
        return ReleaseRoom(
            releases=Releases(engine, self._clock),
            approvals=ApprovalLedger(engine, self._clock, ApprovalKeys.of(self._settings)),
            store=ModelStore(self._settings.state / "serving"),
            settings=self._settings,
            clock=self._clock,
        )

    def read_reviews(self) -> None:
        """Turn what reviewers decided in the MLflow UI into records, and remind of what waits."""
        room = self.room()
        client, alerts = registry_client(self._settings), AlertLedger(self._database.engine(), self._clock)
        if not self._asked_for_webhooks:
            self._asked_for_webhooks = True
            try:
                ensure_webhook(client, self._settings)
            except UnavailableError as error:
                _log.warning("no webhooks", words=error.message)
        if self._access is None and self._settings.mlflow.authentication == "basic":
            self._access = AccessLog.of(self._settings)
        decided = watch_once(
            client,
            room.approvals,
            self._strategy,
            access=self._access,
            alerts=alerts,
            four_eyes=self._policy.four_eyes,
        )
        for decision in decided:
            self._say(
                f"review:{self._strategy}:{decision.version}:{decision.record.sequence if decision.record else 'none'}",
                Severity.NOTICE,
                f"{self._strategy}: version {decision.version} {decision.outcome.value}",
                decision.words,
            )
        requests = ReviewRequests(self._database.engine(), self._clock)
        remind(client, requests, alerts)
        if self._settings.prefect.api_url is not None:
            resume_decided(requests, self._settings.prefect.api_url)
        if decided:
            self.told_of()

    def carry_on(self) -> None:
        """Apply what is missing of every release, then ask the rules of this strategy's."""
        room = self.room()
        resume_all(room)
        for release in advance(room, self._strategy, self._policy, self._watch(room)):
            self._say(
                f"release:{release.release_id}:{release.number}",
                Severity.NOTICE,
                f"{release.strategy}: version {release.version} is {release.words}",
                room.releases.history(release.release_id)[-1].reason,
            )
        reweigh(room, self._strategy, self._params)

    def compare(self) -> None:
        """Say where registry, approvals and serving disagree, each thing once."""
        ledger = AlertLedger(self._database.engine(), self._clock)
        if self._told < 0:
            # What a kill may have kept from being told; a receiver knows it by its id.
            recent = self._clock.time_ns() - _TOLD_AGAIN_NS
            self._told = sum(record.time_ns < recent for record in ledger.records())
        self._release_watch().look()
        for record in ledger.records()[self._told :]:  # also what the reviews and the look at artifacts have raised
            self._tell_of(record)
            self._told = record.sequence

    def compare_artifacts(self) -> None:
        """Say which artifacts of versions with a role are not what was approved, each once; downloads them."""
        self._release_watch().look_at_artifacts()

    def build(self) -> None:
        """Build the Bento of a champion that has none; takes seconds."""
        build_bentos(self.room(), self._strategy)

    def _release_watch(self) -> ReleaseWatch:
        if self._compared is None:
            room, alerts = self.room(), AlertLedger(self._database.engine(), self._clock)
            self._compared = ReleaseWatch(
                self._strategy, settings=self._settings, ledger=room.approvals, store=room.store, alerts=alerts
            )
        return self._compared

    def _watch(self, room: ReleaseRoom) -> Watch:
        inner = release_watch(room.approvals.engine, self._params)

        def findings(release: Release) -> Findings | None:
            found = inner.findings(release)
            if found is not None:
                self.findings[release.strategy] = found
            return found

        return Watch(findings=findings, market_ns=inner.market_ns)

    def _tell_of(self, record: AlertRecord) -> None:
        if record.event is Event.RAISED:
            self._say(f"alert:{record.sequence}:{record.hash[:12]}", Severity.WARNING, record.problem, record.words)

    def _say(self, identity: str, severity: Severity, subject: str, words: str) -> None:
        self._tell(
            Notification(
                notification_id=identity,
                time_ns=self._clock.time_ns(),
                severity=severity,
                subject=subject,
                words=words,
            )
        )
