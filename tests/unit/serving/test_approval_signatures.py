"""Signed approvals and the registry's log of changes: every changed byte is found, and named."""

from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.clock import SimulatedClock
from core.database import create_engine, migrate
from core.errors import ConfigurationError, IntegrityError
from serving.release.access import AccessLog
from serving.release.approvals import Approval, ApprovalLedger, Authentication, Decision, Scope, approvals_table
from serving.release.signing import ApprovalKeys


def written(folder: Path, count: int = 3) -> tuple[sa.Engine, ApprovalKeys, list[Approval]]:
    engine = create_engine(f"sqlite:///{folder}/approvals.db")
    migrate(engine)
    keys = ApprovalKeys(folder / "keys")
    ledger = ApprovalLedger(engine, SimulatedClock(7), keys)
    records = [
        ledger.append(
            strategy="tidegate-test",
            version=str(number),
            model_digest="a" * 64,
            evidence_digest="e" * 64,
            decision=Decision.APPROVED,
            scope=Scope.PAPER,
            by="reviewer_one",
            reason="read",
            user="reviewer_one",
            authentication=Authentication.MLFLOW_BASIC_AUTH,
        )
        for number in range(count)
    ]
    return engine, keys, records


def test_every_changed_byte_of_every_column_is_refused_with_the_record_it_is_in(tmp_path: Path) -> None:
    engine, keys, records = written(tmp_path)
    ledger = ApprovalLedger(engine, None, keys)
    texts = [name for name in Approval.__struct_fields__ if isinstance(getattr(records[1], name), str)]
    assert "signature" in texts and "user" in texts
    for name in texts:
        value = str(getattr(records[1], name))
        # Each position of the signature, of the others the two ends: the hash covers them all alike.
        for place in range(len(value)) if name == "signature" else sorted({0, len(value) - 1} if value else {0}):
            changed = value[:place] + ("A" if value[place : place + 1] != "A" else "B") + value[place + 1 :]
            update(engine, 2, {name: changed})
            with pytest.raises(IntegrityError, match="record"):
                ledger.verify_chain()
            update(engine, 2, {name: value})
    assert ledger.verify_chain() == records


def test_a_whole_chain_written_anew_without_the_key_does_not_hold(tmp_path: Path) -> None:
    engine, keys, records = written(tmp_path)
    stranger = ApprovalKeys(tmp_path / "other")
    last = msgspec.structs.replace(records[2], reason="forged", key=stranger.sign("")[0])
    hashed = msgspec.structs.replace(last, hash=last.computed_hash())
    forged = msgspec.structs.replace(hashed, signature=stranger.sign(hashed.hash)[1])
    update(engine, 3, msgspec.structs.asdict(forged))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE approvals_head SET hash = '{forged.hash}'")
    with pytest.raises(IntegrityError, match=r"record 3: the key [0-9a-f]+ that signed it is not one of"):
        ApprovalLedger(engine, None, keys).verify_chain()
    # Nor does an unsigned one in its place, as it would have been written before there were signatures.
    old = msgspec.structs.replace(records[2], key="", signature="")
    plain = msgspec.structs.replace(old, hash=old.computed_hash())
    update(engine, 3, msgspec.structs.asdict(plain))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE approvals_head SET hash = '{plain.hash}'")
    with pytest.raises(IntegrityError, match="record 3 is not signed and those before it are"):
        ApprovalLedger(engine, None, keys).verify_chain()


def test_records_from_before_signatures_hold_and_signed_ones_follow(tmp_path: Path) -> None:
    engine, keys, _ = written(tmp_path, 0)
    # As the first release wrote it: these fields, this hash.
    old = Approval(
        sequence=1,
        time_ns=5,
        strategy="tidegate-test",
        version="1",
        model_digest="a" * 64,
        evidence_digest="e" * 64,
        decision=Decision.APPROVED,
        scope=Scope.PAPER,
        by="reviewer",
        reason="read",
        previous_hash="0" * 64,
    )
    assert old.computed_hash() == "c1bc277486e068e1fabd73296d62247fb22a7f8ca9692f92d26541f9b0db9ffb"
    old = msgspec.structs.replace(old, hash=old.computed_hash())
    with engine.begin() as connection:
        connection.execute(approvals_table.insert().values(**msgspec.structs.asdict(old)))
        connection.exec_driver_sql(f"INSERT INTO approvals_head VALUES (1, 1, '{old.hash}')")
    ledger = ApprovalLedger(engine, SimulatedClock(7), keys)
    assert ledger.verify_chain() == [old] and not old.signed
    ledger.append(
        strategy="tidegate-test",
        version="2",
        model_digest="b" * 64,
        evidence_digest="e" * 64,
        decision=Decision.REJECTED,
        scope=Scope.PAPER,
        by="reviewer_one",
        reason="read",
    )
    assert [record.signed for record in ledger.verify_chain()] == [False, True]


def test_the_private_key_is_for_its_owner_alone_and_an_old_public_one_stays(tmp_path: Path) -> None:
    engine, keys, records = written(tmp_path, 1)
    assert keys.private_file.stat().st_mode & 0o777 == 0o600
    keys.private_file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        keys.sign("0" * 64)
    keys.private_file.unlink()
    identity, _ = keys.sign("0" * 64)
    assert identity != records[0].key
    assert ApprovalLedger(engine, None, keys).verify_chain() == records


@example(place=0, bit=9)  # a return for a letter: no end of a line
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@hypothesis_settings(max_examples=40)
def test_every_changed_byte_of_the_log_of_changes_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = AccessLog(folder / "access.jsonl", folder / "access.key", clock=lambda: 1)
    for number in range(3):
        log.write(
            user="reviewer_one",
            roles=("reviewer",),
            action="set_tag",
            model_name="m",
            version=str(number),
            allowed=True,
        )
    content = bytearray(log.path.read_bytes())
    if bit == 9:
        content[content.index(b"model_name")] = 13
    else:
        content[place % len(content)] ^= 1 << bit
    log.path.write_bytes(bytes(content))
    fresh = AccessLog(folder / "access.jsonl", folder / "access.key")
    if bit != 9 and place % len(content) == len(content) - 1:
        assert len(fresh.entries()) == 2  # without its line break the last line was never finished
    else:
        with pytest.raises(IntegrityError, match="line"):
            fresh.entries()


def test_a_line_that_a_kill_cut_off_is_written_over_and_a_lost_end_is_found(tmp_path: Path) -> None:
    def write(log: AccessLog) -> None:
        log.write(user="reviewer_one", roles=(), action="set_tag", model_name="m", allowed=False, words="no")

    log = AccessLog(tmp_path / "access.jsonl", tmp_path / "access.key")
    write(log)
    with log.path.open("ab") as stream:
        stream.write(b'{"half":')
    write(log)
    assert [entry.sequence for entry in AccessLog(log.path, tmp_path / "access.key").entries()] == [1, 2]
    reader = AccessLog(log.path, tmp_path / "access.key")
    assert len(reader.entries()) == 2
    log.path.write_bytes(log.path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(IntegrityError, match="end is gone"):
        reader.entries()


def update(engine: sa.Engine, sequence: int, values: dict[str, object]) -> None:
    with engine.begin() as connection:
        connection.execute(approvals_table.update().where(approvals_table.c.sequence == sequence).values(**values))
