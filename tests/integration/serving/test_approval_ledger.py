"""The approval ledger on SQLite and on a real PostgreSQL: the chain holds, and says so when it does not."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from serving_packages import verified

from core.clock import SimulatedClock
from core.database import create_engine, migrate
from core.embedded.postgres import EmbeddedPostgres
from core.errors import BadInputError, IntegrityError, RefusedError, UnavailableError
from core.settings import get_settings
from serving.release.approvals import Approval, ApprovalLedger, Decision, Scope, approvals_table, approve, head_table

STRATEGY = "tidegate-test"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The key that signs the records lies in the state directory."""
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/approvals.db"
    else:
        server: EmbeddedPostgres = request.getfixturevalue("postgres")
        name = f"approvals_{uuid.uuid4().hex}"
        server.create_database(name)
        url = server.database_url(name)
    engine = create_engine(url)
    migrate(engine)
    yield engine
    engine.dispose()


def record(ledger: ApprovalLedger, digest: str = "a", decision: Decision = Decision.APPROVED, **more: str) -> Approval:
    fields = {"strategy": STRATEGY, "version": "1", "by": "reviewer", "reason": "read the evidence"} | more
    return ledger.append(
        model_digest=digest * 64, evidence_digest="e" * 64, decision=decision, scope=Scope.PAPER, **fields
    )


def execute(engine: sa.Engine, statement: sa.Executable) -> None:
    with engine.begin() as connection:
        connection.execute(statement)


def test_records_chain_and_come_back(engine: sa.Engine) -> None:
    ledger = ApprovalLedger(engine, SimulatedClock(123))
    assert ledger.verify_chain() == []
    written = [record(ledger, digest) for digest in "abc"]
    assert [r.sequence for r in written] == [1, 2, 3]
    assert [r.previous_hash for r in written] == ["0" * 64, written[0].hash, written[1].hash]
    assert written[0].time_ns == 123
    assert ledger.records() == written
    assert ledger.verify_chain(written) == written


def test_the_latest_decision_wins_per_model_and_strategy(engine: sa.Engine) -> None:
    ledger = ApprovalLedger(engine)
    digest = "a" * 64
    assert ledger.standing(digest, strategy=STRATEGY) is None
    first = record(ledger)
    assert ledger.standing(digest, strategy=STRATEGY) == first
    assert ledger.standing(digest, strategy="other") is None
    assert ledger.standing("b" * 64, strategy=STRATEGY) is None
    record(ledger, decision=Decision.REJECTED)
    assert ledger.standing(digest, strategy=STRATEGY) is None
    again = record(ledger, reason="second look")
    record(ledger, "b", decision=Decision.REJECTED)
    assert ledger.standing(digest, strategy=STRATEGY) == again


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "something else"},
        {"by": "somebody else"},
        {"scope": "live"},
        {"decision": "rejected"},
        {"model_digest": "f" * 64},
        {"time_ns": 1},
        {"decision": "maybe"},
    ],
    ids=lambda change: "-".join(map(str, change.items()))[:30],
)
@pytest.mark.parametrize("sequence", [1, 3])
def test_an_edit_is_found(engine: sa.Engine, change: dict[str, object], sequence: int) -> None:
    ledger = ApprovalLedger(engine)
    for digest in "abc":
        record(ledger, digest)
    execute(engine, approvals_table.update().where(approvals_table.c.sequence == sequence).values(**change))
    with pytest.raises(IntegrityError, match="edited"):
        ledger.verify_chain()
    with pytest.raises(IntegrityError):
        ledger.standing("a" * 64, strategy=STRATEGY)


def test_an_edit_with_a_recomputed_hash_is_found(engine: sa.Engine) -> None:
    ledger = ApprovalLedger(engine)
    written = [record(ledger, digest) for digest in "abc"]
    forged = Approval(**{name: getattr(written[1], name) for name in Approval.__struct_fields__} | {"reason": "forged"})
    values = {"reason": "forged", "hash": forged.computed_hash()}
    execute(engine, approvals_table.update().where(approvals_table.c.sequence == 2).values(**values))
    with pytest.raises(IntegrityError, match="record 2: its signature"):
        ledger.verify_chain()


@pytest.mark.parametrize(("sequence", "words"), [(1, "record 1 is missing"), (2, "record 2 is missing"), (3, "head")])
def test_a_removal_is_found(engine: sa.Engine, sequence: int, words: str) -> None:
    ledger = ApprovalLedger(engine)
    for digest in "abc":
        record(ledger, digest)
    execute(engine, approvals_table.delete().where(approvals_table.c.sequence == sequence))
    with pytest.raises(IntegrityError, match=words):
        ledger.verify_chain()


def test_a_removed_tail_with_a_forged_head_is_found_by_who_kept_the_record(engine: sa.Engine) -> None:
    ledger = ApprovalLedger(engine)
    written = [record(ledger, digest) for digest in "abc"]
    execute(engine, approvals_table.delete().where(approvals_table.c.sequence == 3))
    execute(engine, head_table.update().values(sequence=2, hash=written[1].hash))
    assert ledger.verify_chain() == written[:2]
    with pytest.raises(IntegrityError, match="record 3"):
        ledger.verify_chain([written[2]])


def test_a_broken_end_takes_no_further_record(engine: sa.Engine) -> None:
    ledger = ApprovalLedger(engine)
    record(ledger, "a")
    record(ledger, "b")
    execute(engine, approvals_table.delete().where(approvals_table.c.sequence == 2))
    with pytest.raises(IntegrityError):
        record(ledger, "c")
    assert [r.sequence for r in ledger.records()] == [1]


def test_parallel_appends_make_one_chain(engine: sa.Engine) -> None:
    failures: list[BaseException] = []

    def append(person: int) -> None:
        try:
            for number in range(5):
                record(ApprovalLedger(engine), by=f"person {person}", reason=f"number {number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=append, args=(person,)) for person in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    records = ApprovalLedger(engine).verify_chain()
    assert [r.sequence for r in records] == list(range(1, 21))
    for person in range(4):  # nobody's records are lost or reordered
        mine = [r.reason for r in records if r.by == f"person {person}"]
        assert mine == [f"number {number}" for number in range(5)]


def test_an_approval_needs_a_person_a_reason_and_a_passed_gate_for_live(engine: sa.Engine, tmp_path: Path) -> None:
    ledger = ApprovalLedger(engine)
    with pytest.raises(BadInputError, match="reason"):
        record(ledger, reason="  ")
    package = verified(tmp_path / "package", passed=False)
    with pytest.raises(RefusedError, match="beats_flat"):
        approve(ledger, package, version="1", scope=Scope.LIVE, by="reviewer", reason="hope")
    assert ledger.records() == []
    written = approve(ledger, package, version="1", scope=Scope.PAPER, by="reviewer", reason="practice only")
    assert ledger.standing(package.model_digest, strategy=STRATEGY) == written


def test_a_database_that_is_away_says_so_in_one_line() -> None:
    ledger = ApprovalLedger(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none", connect_timeout_seconds=1))
    for call in (ledger.verify_chain, ledger.records, lambda: record(ledger)):
        with pytest.raises(UnavailableError, match="approval ledger does not answer") as caught:
            call()
        assert "\n" not in caught.value.message
