"""The watch on the release: says when registry, approvals, artifacts and serving disagree. It changes nothing.

``check_release`` says what is wrong now; ``ReleaseWatch`` looks again and again, and has each thing recorded once, when
it has lasted: between a new policy and its alias lies a moment in which both are right.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from core.clock import NANOSECONDS
from core.errors import BadInputError, IntegrityError, UnavailableError
from core.settings import Settings
from serving.release.alerts import AlertLedger, AlertRecord, Found
from serving.release.approval import Approval
from serving.release.approvals import ApprovalLedger
from serving.release.attached import why
from serving.release.bars import read_bars
from serving.release.publish import CHAMPION_ALIAS, fetch_package, registry_client
from serving.release.rollback import strategy_folder
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Mode

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER_ALIAS, SHADOW_ALIAS = "challenger", "shadow"
_MUST_LAST_NS = 5 * NANOSECONDS


class ReleaseProblem(StrEnum):
    """What is wrong."""

    ALIAS_WITHOUT_APPROVAL = "alias_without_approval"  # somebody moved an alias to a version nobody approved
    ALIAS_DIFFERS = "alias_differs"  # an alias names another approved version than the one in its role
    APPROVAL_WITHDRAWN = "approval_withdrawn"  # a version with a role was rejected since
    BARRED = "barred"  # a version with a role or an alias stands on an approval that a rollback barred
    EDITED_ARTIFACT = "edited_artifact"  # package, evidence or lineage tags are not what was approved
    LEDGER_BROKEN = "ledger_broken"
    STORE_BROKEN = "store_broken"


class ReleaseAlert(msgspec.Struct, frozen=True):
    """One disagreement, for the alert channel. ``words`` says what happened and what to do."""

    problem: ReleaseProblem
    strategy: str
    model_name: str
    alias_version: str | None
    served_version: str | None
    words: str
    about: str = CHAMPION_ALIAS  # the alias or role it is about

    @property
    def found(self) -> Found:
        """The same for the alert ledger."""
        version = self.alias_version or self.served_version or ""
        return Found(
            problem=self.problem,
            strategy=self.strategy,
            model_name=self.model_name,
            version=version,
            key=f"{self.problem}:{self.strategy}:{self.about}:{version}",
            words=self.words,
        )


def check_release(
    model_name: str, strategy: str, *, settings: Settings, ledger: ApprovalLedger, store: ModelStore
) -> list[ReleaseAlert]:
    """Compare aliases, approvals and policy of one strategy; return what disagrees, empty when all agree.

    Raises:
        UnavailableError: MLflow or the database does not answer; nothing can be said then.
    """
    return _Check(model_name, strategy, registry_client(settings), ledger, store).look()


def check_artifacts(
    model_name: str, strategy: str, *, settings: Settings, ledger: ApprovalLedger, store: ModelStore
) -> list[ReleaseAlert]:
    """Fetch and verify what the registry holds of every version with a role or an alias; return what was edited.

    Serving is not touched by it: it has its own verified copies. Costs a download of each version.

    Raises:
        UnavailableError: MLflow or the database does not answer.
    """
    client = registry_client(settings)
    check = _Check(model_name, strategy, client, ledger, store)
    approved = {record.version: record for record in ledger.records() if record.strategy == strategy}
    alerts: list[ReleaseAlert] = []
    for version in sorted({*check.aliases().values(), *check.roles().values()}):
        words = _edited(client, model_name, version, approved.get(version))
        if words:
            served = version if version in check.roles().values() else None
            problem = ReleaseProblem.EDITED_ARTIFACT
            alerts.append(ReleaseAlert(problem, strategy, model_name, version, served, words, "artifact"))
    return alerts


class ReleaseWatch:
    """Looks at one strategy and records what lasts, once; and that it went away."""

    def __init__(
        self, model_name: str, *, settings: Settings, ledger: ApprovalLedger, store: ModelStore, alerts: AlertLedger
    ) -> None:
        """The strategy has the model's name."""
        self._name, self._settings, self._ledger, self._store = model_name, settings, ledger, store
        self._alerts = alerts
        self._since: dict[str, int] = {}

    def look(self) -> list[AlertRecord]:
        """Look at aliases, approvals and policy; return what was recorded now.

        Raises:
            UnavailableError: MLflow or the database does not answer.
        """
        present = {
            alert.found.key: alert.found
            for alert in check_release(
                self._name, self._name, settings=self._settings, ledger=self._ledger, store=self._store
            )
        }
        now = self._ledger.clock.time_ns()
        self._since = {key: self._since.get(key, now) for key in present}
        lasting = [found for key, found in present.items() if now - self._since[key] >= _MUST_LAST_NS]
        known = {record.key: record for record in self._alerts.open()}
        # What is recorded and still there stays, however long this watcher has been looking.
        kept = [found for key, found in present.items() if key in known]
        others = [problem for problem in ReleaseProblem if problem is not ReleaseProblem.EDITED_ARTIFACT]
        return self._alerts.lasting(self._mine(others), [*lasting, *kept])

    def look_at_artifacts(self) -> list[AlertRecord]:
        """Verify what the registry holds of versions with a role; return what was recorded now.

        Raises:
            UnavailableError: MLflow or the database does not answer.
        """
        found = check_artifacts(self._name, self._name, settings=self._settings, ledger=self._ledger, store=self._store)
        return self._alerts.lasting(self._mine([ReleaseProblem.EDITED_ARTIFACT]), [alert.found for alert in found])

    def _mine(self, problems: Iterable[ReleaseProblem]) -> list[tuple[str, str]]:
        return [(problem, self._name) for problem in problems]


class _Check:
    """One look."""

    def __init__(
        self, model_name: str, strategy: str, client: "MlflowClient", ledger: ApprovalLedger, store: ModelStore
    ) -> None:
        self.model_name, self.strategy, self.ledger = model_name, strategy, ledger
        self.folder = strategy_folder(store, strategy)
        self.client = client
        self.broken: IntegrityError | None = None
        self.pointer: Pointer | None = None
        try:
            self.pointer = store.pointer(strategy)
        except IntegrityError as error:
            self.broken = error

    def aliases(self) -> dict[str, str]:
        """Return which version each of the three aliases names."""
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

        try:
            found = self.client.get_registered_model(self.model_name).aliases
        except MlflowException as error:
            if error.error_code in (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)):
                return {}
            raise UnavailableError(f"the registry does not answer: {why(error)}") from error
        known = (CHAMPION_ALIAS, CHALLENGER_ALIAS, SHADOW_ALIAS)
        return {alias: str(version) for alias, version in found.items() if alias in known}

    def roles(self) -> dict[str, str]:
        """Return which version has the role that each alias stands for."""
        if self.pointer is None or self.pointer.flat:
            return {}
        roles = {CHAMPION_ALIAS: self.pointer.version}
        if self.pointer.challenger is not None:
            shadow = self.pointer.traffic.mode is Mode.SHADOW
            roles[SHADOW_ALIAS if shadow else CHALLENGER_ALIAS] = self.pointer.challenger.version
        return roles

    def look(self) -> list[ReleaseAlert]:
        """Return everything that is wrong."""
        aliases, roles = self.aliases(), self.roles()
        alerts: list[ReleaseAlert] = []

        def say(problem: ReleaseProblem, words: str, about: str = CHAMPION_ALIAS) -> None:
            versions = aliases.get(about), roles.get(about)
            alerts.append(ReleaseAlert(problem, self.strategy, self.model_name, *versions, words, about))

        if self.broken is not None:
            say(ReleaseProblem.STORE_BROKEN, self.broken.message)
        try:
            standings = self.pointer.standings if self.pointer is not None else ()
            records = self.ledger.verify_chain([one.approval for one in standings])
            barred = {bar.approval_hash: bar for bar in read_bars(self.folder)}
            for one, about in zip(standings, roles, strict=False):
                if self.ledger.standing(one.model_digest, strategy=self.strategy) is None:
                    words = f"version {one.version} is served and its approval was withdrawn"
                    say(ReleaseProblem.APPROVAL_WITHDRAWN, f"{words}: roll back or approve it again", about)
                if one.approval.hash in barred:
                    words = f"version {one.version} has a role and was rolled back ({barred[one.approval.hash].reason})"
                    say(ReleaseProblem.BARRED, f"{words}: roll back, or approve it anew and release it", about)
            for alias, version in aliases.items():
                if version != roles.get(alias):
                    approval = self._standing(version, records)
                    if approval is not None and approval.hash in barred:
                        reason = barred[approval.hash].reason
                        words = f"the alias {alias} names version {version}, which was rolled back ({reason})"
                        say(ReleaseProblem.BARRED, f"{words}: move it back", alias)
                    else:
                        say(*self._moved(alias, version, roles.get(alias), approval), alias)
        except IntegrityError as error:
            say(ReleaseProblem.LEDGER_BROKEN, error.message)
        return alerts

    def _standing(self, version: str, records: Iterable[Approval]) -> Approval | None:
        """Return the approval that stands for a version, by the digest that was approved and not by what a tag says."""
        mine = [record for record in records if (record.strategy, record.version) == (self.strategy, version)]
        standing = self.ledger.standing(mine[-1].model_digest, strategy=self.strategy) if mine else None
        return standing if standing is not None and standing.version == version else None

    def _moved(
        self, alias: str, version: str, role: str | None, approval: Approval | None
    ) -> tuple[ReleaseProblem, str]:
        serves = (
            f"version {role} is still served" if alias == CHAMPION_ALIAS and role else f"the role is {role or 'free'}"
        )
        if approval is None:
            return ReleaseProblem.ALIAS_WITHOUT_APPROVAL, (
                f"the alias {alias} of {self.model_name} was moved to version {version} without an approval; {serves}: "
                "move it back, or approve and publish"
            )
        return ReleaseProblem.ALIAS_DIFFERS, (
            f"the alias {alias} of {self.model_name} names version {version}; {serves}: move it back, or let a release "
            "do it"
        )


def _edited(client: "MlflowClient", model_name: str, version: str, approved: Approval | None) -> str:
    """Return what is not as it was approved, empty where all is."""
    try:
        with TemporaryDirectory(prefix="tidegate-watch-") as folder:
            package = fetch_package(client, model_name, version, Path(folder))
    except (IntegrityError, BadInputError) as error:
        return error.message
    if approved is None:
        return ""
    pairs = (
        ("model", package.model_digest, approved.model_digest),
        ("evidence", package.evidence_digest, approved.evidence_digest),
    )
    return "; ".join(
        f"version {version} of {model_name}: the {what} in the registry is {found}, approval {approved.sequence} is of "
        f"{expected}: somebody changed it"
        for what, found, expected in pairs
        if found != expected
    )
