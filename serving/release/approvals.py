"""The approval ledger: who let which model trade, as a hash chain in the platform database.

A record's hash covers all its fields and the hash of the record before it; the head row repeats the last hash. An
edited, removed, inserted or reordered record therefore breaks ``verify_chain``, and a removed tail contradicts the
head (or a record somebody kept, such as the one in the serving pointer). The platform's key signs every new record:
who can write to the database still cannot write an approval. Records from before there were signatures hold as what
they are, unsigned; after the first signed one there may be no unsigned one, and nothing new is published on one.
"""

from collections.abc import Callable, Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.clock import Clock, LiveClock
from core.database import metadata
from core.database.transactions import away, lock_for_writing, of_one_moment
from core.errors import BadInputError, IntegrityError, RefusedError, UnavailableError
from core.settings import get_settings
from serving.release.approval import Approval, Authentication, Decision, Scope
from serving.release.evidence import VerifiedPackage
from serving.release.signing import ApprovalKeys

__all__ = [
    "Approval",
    "ApprovalLedger",
    "Authentication",
    "Decision",
    "Scope",
    "approvals_table",
    "approve",
    "head_table",
]

GENESIS = "0" * 64


approvals_table = sa.Table(
    "approvals",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("model_digest", sa.Text, nullable=False, index=True),
    sa.Column("evidence_digest", sa.Text, nullable=False),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.Text, nullable=False, unique=True),
    sa.Column("user", sa.Text, nullable=False, server_default=""),
    sa.Column("authentication", sa.Text, nullable=False, server_default=""),
    sa.Column("review", sa.Text, nullable=False, server_default=""),
    sa.Column("key", sa.Text, nullable=False, server_default=""),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("signature", sa.Text, nullable=False, server_default=""),
)
sa.Index(
    "uq_approvals_review",
    approvals_table.c.review,
    unique=True,
    postgresql_where=approvals_table.c.review != "",
    sqlite_where=approvals_table.c.review != "",
)
head_table = sa.Table(
    "approvals_head",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)


class ApprovalLedger:
    """Append to and read the ledger. The tables come from the migration branch ``approvals``."""

    def __init__(self, engine: sa.Engine, clock: Clock | None = None, keys: ApprovalKeys | None = None) -> None:
        """``keys`` are those of the settings when not given."""
        self.engine = engine
        self.clock = clock or LiveClock()
        self._keys = keys or ApprovalKeys.of(get_settings())

    def append(
        self,
        *,
        strategy: str,
        version: str,
        model_digest: str,
        evidence_digest: str,
        decision: Decision,
        scope: Scope,
        by: str,
        reason: str,
        user: str = "",
        authentication: Authentication = Authentication.UNAUTHENTICATED,
        review: str = "",
        also: Callable[[sa.Connection, Approval], None] | None = None,
    ) -> Approval:
        """Sign a decision, write it behind the last one and return the record.

        Appends are serialised: PostgreSQL locks the head table, SQLite takes the write lock before it reads.

        Args:
            strategy, version, model_digest, evidence_digest: what it is about.
            decision, scope, by, reason: the decision, who made it in words, and why.
            user, authentication: the account that decided, and how the platform knows it.
            review: id of the decision in the registry; one that has a record already is returned, not written again.
            also: called with the open transaction and the record: what it writes is written with it or not at all.

        Raises:
            BadInputError: ``by`` or ``reason`` is empty: an approval without a person and a reason is none.
            ConfigurationError: the signing key can be read by others, or is none.
            IntegrityError: the last record is not what the head says; nothing is written.
            UnavailableError: the database does not answer.
        """
        if not by.strip() or not reason.strip():
            raise BadInputError("an approval needs a person and a reason: give both `by` and `reason`")
        try:
            with self.engine.connect() as connection:
                lock_for_writing(connection, head_table)
                if review:
                    known = _read(connection, approvals_table.c.sequence.asc(), approvals_table.c.review == review)
                    if known:
                        if also is not None:
                            also(connection, known[0])
                            connection.commit()
                        return known[0]
                head = connection.execute(sa.select(head_table.c.sequence, head_table.c.hash)).one_or_none()
                last = _read(connection, approvals_table.c.sequence.desc(), limit=1)
                _check_head(head, last[0] if last else None)
                draft = Approval(
                    sequence=head.sequence + 1 if head else 1,
                    time_ns=self.clock.time_ns(),
                    strategy=strategy,
                    version=version,
                    model_digest=model_digest,
                    evidence_digest=evidence_digest,
                    decision=decision,
                    scope=scope,
                    by=by,
                    reason=reason,
                    previous_hash=head.hash if head else GENESIS,
                    user=user,
                    authentication=authentication,
                    review=review,
                )
                record = self._signed(draft)
                connection.execute(approvals_table.insert().values(**msgspec.structs.asdict(record)))
                values = {"sequence": record.sequence, "hash": record.hash}
                if head:
                    connection.execute(head_table.update().values(**values))
                else:
                    connection.execute(head_table.insert().values(only=1, **values))
                if also is not None:
                    also(connection, record)
                connection.commit()
                return record
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def records(self) -> list[Approval]:
        """Return all records, oldest first.

        Raises:
            UnavailableError: the database does not answer.
        """
        try:
            with self.engine.connect() as connection:
                return _read(connection, approvals_table.c.sequence.asc())
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def standing(self, model_digest: str, *, strategy: str) -> Approval | None:
        """Return the approval that stands for a model in a strategy; the latest decision wins.

        The chain is verified first: a ledger that does not hold approves nothing. The first of two approvals under the
        four-eyes rule is no decision yet.

        Raises:
            IntegrityError: the chain is broken.
            UnavailableError: the database does not answer.
        """
        decisions = [
            record
            for record in self.verify_chain()
            if (record.model_digest, record.strategy) == (model_digest, strategy)
            and record.decision is not Decision.SUPPORTED
        ]
        return decisions[-1] if decisions and decisions[-1].decision is Decision.APPROVED else None

    def verify_chain(self, known: Iterable[Approval] = ()) -> list[Approval]:
        """Check every record, its signature, the links between them and the head; return the records, oldest first.

        ``known`` are records kept elsewhere, which must still be there unchanged.

        Raises:
            IntegrityError: an edit, removal, insertion or reordering, or a signature that does not hold or is missing;
                the message names the first bad record.
            UnavailableError: the database does not answer.
        """
        try:
            with self.engine.connect() as connection:
                # Head and records must be of one moment, or an append in between would look like a break.
                connection = of_one_moment(connection)
                head = connection.execute(sa.select(head_table.c.sequence, head_table.c.hash)).one_or_none()
                records = _read(connection, approvals_table.c.sequence.asc())
        except SQLAlchemyError as error:
            raise _unavailable(error) from error
        previous, signed = GENESIS, False
        for position, record in enumerate(records, start=1):
            if record.sequence != position:
                raise _broken(f"record {position} is missing, found {record.sequence} in its place")
            if record.previous_hash != previous:
                raise _broken(f"record {position} follows {record.previous_hash}, expected {previous}")
            if record.hash != record.computed_hash():
                raise _broken(f"record {position} was edited: hash {record.hash}, expected {record.computed_hash()}")
            self._check_signature(record, must=signed)
            previous, signed = record.hash, signed or record.signed
        _check_head(head, records[-1] if records else None)
        for record in known:
            if not (0 < record.sequence <= len(records) and records[record.sequence - 1] == record):
                raise _broken(f"record {record.sequence} ({record.hash}) is known elsewhere and not in the ledger")
        return records

    def _signed(self, draft: Approval) -> Approval:
        key, _ = self._keys.sign("")  # the id of the key is part of what it signs
        named = msgspec.structs.replace(draft, key=key)
        hashed = msgspec.structs.replace(named, hash=named.computed_hash())
        return msgspec.structs.replace(hashed, signature=self._keys.sign(hashed.hash)[1])

    def _check_signature(self, record: Approval, *, must: bool) -> None:
        if not record.signed:
            if must or record.signature:
                raise _broken(f"record {record.sequence} is not signed and those before it are")
            return
        try:
            self._keys.check(record.key, record.signature, record.hash)
        except IntegrityError as error:
            raise _broken(f"record {record.sequence}: {error.message}") from None


def approve(
    ledger: ApprovalLedger,
    package: VerifiedPackage,
    *,
    version: str,
    scope: Scope,
    by: str,
    reason: str,
    user: str = "",
    authentication: Authentication = Authentication.UNAUTHENTICATED,
    review: str = "",
    also: Callable[[sa.Connection, Approval], None] | None = None,
) -> Approval:
    """Approve a verified package; who and how are those of ``ApprovalLedger.append``.

    Raises:
        RefusedError: ``live`` is asked for a model that the gate refused.
        BadInputError, IntegrityError, UnavailableError: see ``ApprovalLedger.append``.
    """
    if scope is Scope.LIVE and not package.evidence.verdict.passed:
        failed = ", ".join(rule.rule for rule in package.evidence.verdict.rules if not rule.passed)
        raise RefusedError(f"version {version} failed the gate ({failed}): it can be approved for paper only")
    return ledger.append(
        strategy=package.manifest.strategy,
        version=version,
        model_digest=package.model_digest,
        evidence_digest=package.evidence_digest,
        decision=Decision.APPROVED,
        scope=scope,
        by=by,
        reason=reason,
        user=user,
        authentication=authentication,
        review=review,
        also=also,
    )


def _read(
    connection: sa.Connection,
    order: sa.ColumnElement[int],
    where: sa.ColumnElement[bool] | None = None,
    limit: int | None = None,
) -> list[Approval]:
    columns = [approvals_table.c[name] for name in Approval.__struct_fields__]
    query = sa.select(*columns).order_by(order).limit(limit)
    rows = connection.execute(query if where is None else query.where(where))
    try:
        return [msgspec.convert(dict(zip(Approval.__struct_fields__, row, strict=True)), Approval) for row in rows]
    except msgspec.ValidationError as error:
        raise _broken(f"a record was edited: {error}") from None


def _check_head(head: sa.Row[tuple[int, str]] | None, last: Approval | None) -> None:
    found = (last.sequence, last.hash) if last else (0, GENESIS)
    expected = (head.sequence, head.hash) if head else (0, GENESIS)
    if found != expected:
        raise _broken(f"the last record is {found[0]} ({found[1]}), the head says {expected[0]} ({expected[1]})")


def _broken(words: str) -> IntegrityError:
    return IntegrityError(f"approval ledger broken: {words}; restore it from a backup and look who changed it")


def _unavailable(error: SQLAlchemyError) -> UnavailableError:
    return away("approval ledger does not answer", error)
