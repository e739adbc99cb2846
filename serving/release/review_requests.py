"""Requests for a review: a version waits for a person, reminds of itself, and does not wait for ever.

A flow that needs the decision leaves its run's id here and ends (suspends); whoever records the decision need not
know it. What was decided and not yet told to a flow is found again after any kill.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError as AlreadyThere
from sqlalchemy.exc import SQLAlchemyError

from core.clock import NANOSECONDS, Clock, LiveClock, to_rfc3339
from core.database.transactions import away
from core.digest import digest_value
from core.errors import BadInputError, UnavailableError
from serving.release.attached import NO_SUCH_VERSION, no_such_version, why
from serving.release.review_tables import requests_table

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATUS_TAG = "approval_status"
DAY_NS = 24 * 3600 * NANOSECONDS


class RequestState(StrEnum):
    """How far a request is."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"  # nobody decided in time; a decision that comes later is recorded all the same


class ReviewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One version that waits, or waited, for a decision."""

    id: str
    model_name: str
    version: str
    strategy: str
    model_digest: str
    requested_by: str
    requested_ns: int
    due_ns: int
    remind_ns: int
    reminders: int
    state: RequestState
    decided_sequence: int  # of the approval ledger; 0: none
    flow_run_id: str
    resumed: bool


class ReviewRequests:
    """Read and write the requests. The table comes from the migration branch ``approvals``."""

    def __init__(self, engine: sa.Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self.clock = clock or LiveClock()

    def open(
        self,
        *,
        model_name: str,
        version: str,
        strategy: str,
        model_digest: str,
        requested_by: str,
        days: float,
        remind_days: float,
        flow_run_id: str = "",
    ) -> ReviewRequest:
        """Write a request, or return the one that waits; a flow run that asks anew takes it over.

        Raises:
            BadInputError: a duration is not above zero.
            UnavailableError: the database does not answer.
        """
        if days <= 0 or remind_days <= 0:
            raise BadInputError(f"a request waits {days} days and reminds every {remind_days}: both must be above zero")
        now = self.clock.time_ns()
        request = ReviewRequest(
            id=digest_value([model_name, version, model_digest, now])[:32],
            model_name=model_name,
            version=version,
            strategy=strategy,
            model_digest=model_digest,
            requested_by=requested_by,
            requested_ns=now,
            due_ns=now + int(days * DAY_NS),
            remind_ns=int(remind_days * DAY_NS),
            reminders=0,
            state=RequestState.WAITING,
            decided_sequence=0,
            flow_run_id=flow_run_id,
            resumed=False,
        )
        waiting = self.waiting(model_name, version)
        if not waiting:
            try:
                with self._engine.begin() as connection:
                    connection.execute(requests_table.insert().values(**msgspec.structs.asdict(request)))
                return request
            except AlreadyThere:  # another process asked at the same moment
                waiting = self.waiting(model_name, version)
            except SQLAlchemyError as error:
                raise _unavailable(error) from error
        if flow_run_id and waiting[0].flow_run_id != flow_run_id:
            self._update(waiting[0].id, flow_run_id=flow_run_id, resumed=False)
            return msgspec.structs.replace(waiting[0], flow_run_id=flow_run_id, resumed=False)
        return waiting[0]

    def waiting(self, model_name: str | None = None, version: str | None = None) -> list[ReviewRequest]:
        """Return the requests that wait, of a model or a version where given, oldest first."""
        where = [requests_table.c.state == RequestState.WAITING]
        where += [requests_table.c.model_name == model_name] if model_name is not None else []
        where += [requests_table.c.version == version] if version is not None else []
        return self._read(*where)

    def of_flow_run(self, flow_run_id: str) -> ReviewRequest | None:
        """Return the request that a flow run made, None where it made none."""
        found = self._read(requests_table.c.flow_run_id == flow_run_id)
        return found[-1] if found else None

    def untold(self) -> list[ReviewRequest]:
        """Return the requests that no longer wait while a flow run still does."""
        return self._read(
            requests_table.c.state != RequestState.WAITING,
            requests_table.c.flow_run_id != "",
            requests_table.c.resumed.is_(False),
        )

    def told(self, request: ReviewRequest) -> None:
        """Note that the flow run of a request goes on."""
        self._update(request.id, resumed=True)

    def look(self) -> list[ReviewRequest]:
        """Count the reminders that are due and let requests expire; return those of which a person must be told."""
        now, told = self.clock.time_ns(), list[ReviewRequest]()
        for request in self.waiting():
            if now >= request.due_ns:
                self._update(request.id, state=RequestState.EXPIRED)
                told.append(msgspec.structs.replace(request, state=RequestState.EXPIRED))
                continue
            due = (now - request.requested_ns) // request.remind_ns
            if due > request.reminders:
                self._update(request.id, reminders=due)
                told.append(msgspec.structs.replace(request, reminders=due))
        return told

    def _update(self, identity: str, **values: Any) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(requests_table.update().where(requests_table.c.id == identity).values(**values))
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def _read(self, *where: sa.ColumnElement[bool]) -> list[ReviewRequest]:
        columns = [requests_table.c[name] for name in ReviewRequest.__struct_fields__]
        query = sa.select(*columns).where(*where).order_by(requests_table.c.requested_ns)
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(query).all()
        except SQLAlchemyError as error:
            raise _unavailable(error) from error
        names = ReviewRequest.__struct_fields__
        return [msgspec.convert(dict(zip(names, row, strict=True)), ReviewRequest) for row in rows]


def request_review(
    client: "MlflowClient",
    requests: ReviewRequests,
    model_name: str,
    version: str,
    *,
    requested_by: str,
    days: float = 30.0,
    remind_days: float = 3.0,
    flow_run_id: str = "",
) -> ReviewRequest:
    """Ask for the review of a registered version, and let its page in MLflow say so.

    Raises:
        BadInputError: there is no such version.
        UnavailableError: registry or database does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        registered = client.get_model_version(model_name, version)
        request = requests.open(
            model_name=model_name,
            version=str(registered.version),
            strategy=model_name,
            model_digest=str(registered.tags.get("lineage.model_digest", "")),
            requested_by=requested_by,
            days=days,
            remind_days=remind_days,
            flow_run_id=flow_run_id,
        )
        client.set_model_version_tag(model_name, request.version, STATUS_TAG, waiting_words(request))
    except MlflowException as error:
        if getattr(error, "error_code", "") in NO_SUCH_VERSION:
            raise no_such_version(model_name, version) from None
        raise UnavailableError(f"cannot ask for the review of version {version}: {why(error)}") from error
    return request


def waiting_words(request: ReviewRequest) -> str:
    """Return what the tag ``approval_status`` says while a version waits."""
    return (
        f"waiting for review until {to_rfc3339(request.due_ns)[:10]}: set the tag approval to approved or rejected, "
        "and approval_reason to why"
    )


def settle(connection: sa.Connection, model_name: str, version: str, state: RequestState, sequence: int) -> None:
    """Let the request of a version be decided, in the transaction that writes the decision."""
    chosen = (
        requests_table.c.model_name == model_name,
        requests_table.c.version == version,
        requests_table.c.state == RequestState.WAITING,
    )
    connection.execute(requests_table.update().where(*chosen).values(state=state, decided_sequence=sequence))


def _unavailable(error: SQLAlchemyError) -> UnavailableError:
    return away("the requests for reviews cannot be read or written", error)
