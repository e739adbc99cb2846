"""What the release service repeats with registry and database: decisions of reviewers, releases, alerts, Bentos."""

from collections.abc import Callable, Mapping
from typing import Any

from core.clock import Clock
from core.settings import Settings
from serving.release.access import AccessLog
from serving.release.advance import Watch, advance
from serving.release.alerts import AlertLedger, AlertRecord, Event, Found
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
from serving.release.watch import ReleaseProblem, check_release
from serving.store import ModelStore
from tidegate.rollback import Database
from training.online.watch import release_watch


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
        remind(client, ReviewRequests(self._database.engine(), self._clock), alerts)
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

    def compare(self) -> None:
        """Say where registry, approvals and serving disagree, each thing once."""
        room = self.room()
        alerts = check_release(
            self._strategy, self._strategy, settings=self._settings, ledger=room.approvals, store=room.store
        )
        found = [
            Found(
                problem=alert.problem.value,
                strategy=alert.strategy,
                model_name=alert.model_name,
                version=alert.alias_version or alert.served_version or "",
                key=f"{alert.problem.value}:{alert.strategy}:{alert.alias_version}:{alert.served_version}",
                words=alert.words,
            )
            for alert in alerts
        ]
        ledger = AlertLedger(self._database.engine(), self._clock)
        ledger.lasting([problem.value for problem in ReleaseProblem], found)
        for record in ledger.records():
            self._tell_of(record)

    def build(self) -> None:
        """Build the Bento of a champion that has none; takes seconds."""
        build_bentos(self.room(), self._strategy)

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
