"""Decisions made in the MLflow UI become records of the approval ledger, exactly once.

``watch_once`` reads the tags of a model's versions. A decision that is complete is written to the ledger together with
the note that it was read, in one transaction: a kill leaves both or neither. What the page says about it
(``approval_status``) follows, and is put right at the next look where a kill came in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.crash_points import reach
from core.database.transactions import away
from core.digest import digest_value
from core.errors import BadInputError, IntegrityError, RefusedError, TidegateError, UnavailableError
from core.logging import get_logger
from serving.release.access import Access, AccessLog
from serving.release.alerts import AlertLedger, Found
from serving.release.approval import Approval, Authentication, Decision
from serving.release.approvals import ApprovalLedger
from serving.release.attached import why
from serving.release.decisions import decide
from serving.release.evidence import VerifiedPackage
from serving.release.publish import fetch_package
from serving.release.review_form import APPROVAL, REASON, Before, Form, Reading, asked_for, read_form
from serving.release.review_requests import STATUS_TAG, RequestState, ReviewRequests, settle, waiting_words
from serving.release.review_tables import reviews_table

if TYPE_CHECKING:
    from mlflow import MlflowClient

FORGED_TAG, REFUSED_CHANGE, EDITED_ARTIFACT = "forged_tag", "refused_change", "edited_artifact"
_IN_FLIGHT_NS = 5_000_000_000  # an attempt is logged before MLflow has changed the tag
_log = get_logger("serving")


class Outcome(StrEnum):
    """What came of a decision in the registry."""

    RECORDED = "recorded"
    SUPPORTED = "supported"  # the first of two; the form was emptied for the second
    REFUSED = "refused"


@dataclass(frozen=True)
class ReviewDecision:
    """One decision that was read now."""

    model_name: str
    version: str
    outcome: Outcome
    words: str
    record: Approval | None = None


def watch_once(
    client: "MlflowClient",
    ledger: ApprovalLedger,
    model_name: str,
    *,
    access: AccessLog | None = None,
    alerts: AlertLedger | None = None,
    four_eyes: bool = False,
) -> list[ReviewDecision]:
    """Read the decisions set on a model's versions; return those that are new.

    Args:
        client: of the registry, signed in as the platform.
        ledger: where decisions are recorded.
        model_name: registered model; also the strategy's name.
        access: the log of a registry with accounts; None: it asks nobody who they are.
        alerts: where forged tags, refused attempts and edited artifacts are raised.
        four_eyes: whether two people, none of them who registered the version, must approve.

    Raises:
        IntegrityError: the approval ledger or the access log does not hold: nothing is recorded then.
        UnavailableError: registry or database does not answer; what could not be done is done at the next look.
    """
    watch = _Watch(client, ledger, model_name, access, alerts or AlertLedger(ledger.engine, ledger.clock), four_eyes)
    from mlflow.exceptions import MlflowException

    try:
        return watch.look()
    except MlflowException as error:
        raise UnavailableError(f"the registry does not answer: {why(error)}") from error
    except SQLAlchemyError as error:
        raise away("the reviews cannot be read or written", error) from error


@dataclass(frozen=True)
class _Watch:
    client: "MlflowClient"
    ledger: ApprovalLedger
    model_name: str
    access: AccessLog | None
    alerts: AlertLedger
    four_eyes: bool

    def look(self) -> list[ReviewDecision]:
        versions = self.client.search_model_versions(f"name = '{self.model_name}'")
        before, log = self._before(), self._attempts()
        if log is not None:
            self._refusals(log)
        found: list[ReviewDecision] = []
        for version in sorted(versions, key=lambda entry: int(entry.version)):
            number = str(version.version)
            last = before.get(number, Before())
            if APPROVAL in version.tags or last.seen:
                decision = self._version(version, last, log)
                found += [decision] if decision is not None else []
        return found

    def _version(self, version: Any, last: Before, log: Sequence[Access] | None) -> ReviewDecision | None:
        number, tags = str(version.version), dict(version.tags)
        form = self._form(number, tags, last, log)
        if form.reading is Reading.FORGED:
            # The tags may be older than the log that was read after them, or the change still be under way.
            version, log = self.client.get_model_version(self.model_name, number), self._attempts()
            tags = dict(version.tags)
            form = self._form(number, tags, last, log)
            if form.reading is Reading.FORGED:
                return self._forged(number, tags, last, form)
        if form.reading is Reading.COMPLETE:
            return self._decided(version, tags, form)
        if form.reading is Reading.EMPTY:
            if last.seen:
                self._remember(number, Before(count=last.count, outcome=last.outcome, sequence=last.sequence))
            return None
        if form.reading is Reading.KNOWN and self._withdraw(number, tags, last):
            return None
        self._say(number, tags, form.words if form.reading is Reading.INCOMPLETE else last.outcome)
        return None

    def _form(self, number: str, tags: dict[str, str], last: Before, log: Sequence[Access] | None) -> Form:
        mine = None if log is None else [e for e in log if (e.model_name, e.version) == (self.model_name, number)]
        return read_form(tags, last, mine)

    def _decided(self, version: Any, tags: dict[str, str], form: Form) -> ReviewDecision:
        number = str(version.version)
        try:
            with TemporaryDirectory(prefix="tidegate-review-") as folder:
                package = fetch_package(self.client, self.model_name, number, Path(folder))
                record = self._record(package, number, tags, form)
        except (IntegrityError, RefusedError, BadInputError) as error:
            return self._refused(number, tags, form, error)
        reach("approval.recorded")
        if record.decision is Decision.SUPPORTED:
            words = _supported_words(record)
            self._empty_form(number, tags)
        else:
            words = recorded_words(record)
        self._say(number, tags, words)
        outcome = Outcome.SUPPORTED if record.decision is Decision.SUPPORTED else Outcome.RECORDED
        _log.info("review recorded", model=self.model_name, version=number, decision=record.decision, user=record.user)
        return ReviewDecision(self.model_name, number, outcome, words, record)

    def _record(self, package: VerifiedPackage, number: str, tags: dict[str, str], form: Form) -> Approval:
        """Write the decision, that it was read, and that nobody waits for it any more, or nothing of it."""

        def also(connection: sa.Connection, record: Approval) -> None:
            supported = record.decision is Decision.SUPPORTED
            note = Before(
                seen=form.occurrence,
                count=form.count,
                decision=asked_for(tags),
                reason=form.reason,
                outcome=_supported_words(record) if supported else recorded_words(record),
                sequence=record.sequence,
            )
            _note(connection, self.model_name, number, note)
            if not supported:
                state = RequestState.APPROVED if record.decision is Decision.APPROVED else RequestState.REJECTED
                settle(connection, self.model_name, number, state, record.sequence)
            reach("approval.in_transaction")

        person = form.user or "somebody in the MLflow UI"
        return decide(
            self.ledger,
            package,
            version=number,
            decision=form.decision,
            scope=form.scope,
            by=person,
            reason=form.reason,
            user=form.user,
            authentication=form.authentication,
            review=digest_value([self.model_name, number, package.model_digest, form.occurrence]),
            four_eyes=self.four_eyes,
            registered_by=tags.get("lineage.registered_by", ""),
            also=also,
        )

    def _refused(self, number: str, tags: dict[str, str], form: Form, error: TidegateError) -> ReviewDecision:
        if isinstance(error, IntegrityError):
            self.ledger.verify_chain()  # a broken ledger is nobody's artifact: say so, and remember nothing
        words = f"refused, nothing is recorded: {error.message}"
        problem = EDITED_ARTIFACT if isinstance(error, IntegrityError) else "refused_decision"
        self._alert(problem, number, form.occurrence, words)
        self._remember(number, Before(form.occurrence, form.count, asked_for(tags), form.reason, words, 0))
        self._say(number, tags, words)
        return ReviewDecision(self.model_name, number, Outcome.REFUSED, words)

    def _forged(self, number: str, tags: dict[str, str], last: Before, form: Form) -> ReviewDecision | None:
        if self.ledger.clock.time_ns() - form.moment_ns < _IN_FLIGHT_NS or form.occurrence == last.seen:
            return None
        words = f"refused, nothing is recorded: {form.words}"
        self._alert(FORGED_TAG, number, form.occurrence, words)
        self._remember(number, Before(form.occurrence, last.count, last.decision, last.reason, words, last.sequence))
        self._say(number, tags, words)
        return ReviewDecision(self.model_name, number, Outcome.REFUSED, words)

    def _withdraw(self, number: str, tags: dict[str, str], last: Before) -> bool:
        """Empty the form of a version that was taken back after its approval: only a new decision lets it trade."""
        if not last.sequence:
            return False
        records = self.ledger.records()
        mine = next((record for record in records if record.sequence == last.sequence), None)
        if mine is not None and mine.decision is Decision.SUPPORTED:  # a kill came before the form was emptied
            self._empty_form(number, tags)
        if mine is None or mine.decision is not Decision.APPROVED:
            return False
        later = [
            record
            for record in records[mine.sequence :]
            if (record.strategy, record.model_digest) == (mine.strategy, mine.model_digest)
            and record.decision is Decision.REJECTED
            and (record.authentication is Authentication.PLATFORM or record.by == "tidegate")
        ]
        if not later:
            return False
        words = f"taken back: {later[-1].reason}; it trades again only after a new approval with a new reason"
        self._remember(number, Before(last.seen, last.count, last.decision, last.reason, words, 0))
        self._empty_form(number, tags)
        self._say(number, tags, words)
        return True

    def _refusals(self, log: Sequence[Access]) -> None:
        """Raise what the server refused; each attempt once."""
        refused = [entry for entry in log if not entry.allowed and entry.model_name == self.model_name]
        found = [
            Found(
                problem=REFUSED_CHANGE,
                strategy=self.model_name,
                model_name=self.model_name,
                version=entry.version,
                key=f"{REFUSED_CHANGE}:{entry.id}",
                words=f"{entry.user} ({', '.join(entry.roles) or 'no role'}) was refused to {entry.action} "
                f"{entry.key} {entry.value[:80]}".rstrip()
                + f" of version {entry.version or '-'}: {entry.words}",
            )
            for entry in refused
        ]
        if found:
            self.alerts.happened(*found)

    def _alert(self, problem: str, number: str, occurrence: str, words: str) -> None:
        key = f"{problem}:{self.model_name}:{number}:{digest_value(occurrence)[:16]}"
        name = self.model_name
        text = f"version {number} of {name}: {words}"
        self.alerts.happened(
            Found(problem=problem, strategy=name, model_name=name, version=number, key=key, words=text)
        )

    def _attempts(self) -> list[Access] | None:
        return None if self.access is None else self.access.entries()

    def _before(self) -> dict[str, Before]:
        columns = [reviews_table.c[name] for name in ("version", *Before.__dataclass_fields__)]
        with self.ledger.engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).where(reviews_table.c.model_name == self.model_name)).all()
        return {row[0]: Before(*row[1:]) for row in rows}

    def _remember(self, number: str, note: Before) -> None:
        with self.ledger.engine.begin() as connection:
            _note(connection, self.model_name, number, note)

    def _say(self, number: str, tags: dict[str, str], words: str) -> None:
        if words and tags.get(STATUS_TAG) != words:
            self.client.set_model_version_tag(self.model_name, number, STATUS_TAG, words)

    def _empty_form(self, number: str, tags: dict[str, str]) -> None:
        for key in (APPROVAL, REASON):
            if key in tags:
                self.client.delete_model_version_tag(self.model_name, number, key)


def recorded_words(record: Approval) -> str:
    """Return what the tag ``approval_status`` says of a record."""
    scope = f" for {record.scope}" if record.decision is Decision.APPROVED else ""
    return f"{record.decision}{scope} by {record.by}, record {record.sequence} of the approval ledger"


def remind(client: "MlflowClient", requests: ReviewRequests, alerts: AlertLedger) -> list[str]:
    """Tell of requests that wait for long or expired; return what was said.

    Raises:
        UnavailableError: registry or database does not answer.
    """
    from mlflow.exceptions import MlflowException

    said: list[str] = []
    for request in requests.look():
        expired = request.state is RequestState.EXPIRED
        name, version = request.model_name, request.version
        status = f"nobody decided in time, the request expired: {waiting_words(request).partition(': ')[2]}"
        problem = "review_expired" if expired else "review_waits"
        words = (
            f"version {version} of {name}: {status if expired else waiting_words(request)} (asked by "
            f"{request.requested_by}, reminder {request.reminders})"
        )
        key = f"{problem}:{request.id}:{request.reminders}"
        alerts.happened(
            Found(problem=problem, strategy=request.strategy, model_name=name, version=version, key=key, words=words)
        )
        said.append(words)
        if expired:
            try:
                client.set_model_version_tag(name, version, STATUS_TAG, status)
            except MlflowException as error:
                raise UnavailableError(f"the registry does not answer: {why(error)}") from error
    return said


def _supported_words(record: Approval) -> str:
    return (
        f"1 of 2: approved for {record.scope} by {record.by}, record {record.sequence} of the approval ledger; a "
        "second reviewer sets approval and approval_reason"
    )


def _note(connection: sa.Connection, model_name: str, version: str, note: Before) -> None:
    chosen = (reviews_table.c.model_name == model_name, reviews_table.c.version == version)
    values = {name: getattr(note, name) for name in Before.__dataclass_fields__}
    if connection.execute(reviews_table.update().where(*chosen).values(**values)).rowcount == 0:
        connection.execute(reviews_table.insert().values(model_name=model_name, version=version, **values))
