"""The journal keeps what it was given, in order, and lets one writer in."""

import os
import time
from pathlib import Path

import pytest

from core.errors import BadInputError, IntegrityError, RefusedError
from core.journal import Follower, Journal, check_end, read_entries


def fill(journal: Journal, count: int, durable: bool = False) -> None:
    for index in range(count):
        journal.append("tick", b"x" * (index % 50), index, durable=durable)


def test_entries_come_back_as_written_across_segments_and_reopening(tmp_path: Path) -> None:
    with Journal(tmp_path, segment_bytes=2000) as journal:
        fill(journal, 60, durable=True)
    with Journal(tmp_path, segment_bytes=2000) as journal:
        assert journal.last_sequence == journal.durable_sequence == 60
        assert journal.repaired is None
        assert journal.append("order", b"payload", 7, durable=True) == 61
    entries = list(read_entries(tmp_path))
    assert [entry.sequence for entry in entries] == list(range(1, 62))
    assert len(list(tmp_path.glob("*.journal"))) > 1
    assert (entries[-1].kind, entries[-1].payload, entries[-1].time_ns, entries[-1].durable) == (
        "order",
        b"payload",
        7,
        True,
    )
    assert [len(entry.payload) for entry in entries[:60]] == [index % 50 for index in range(60)]
    assert [entry.sequence for entry in read_entries(tmp_path, 10, 12)] == [10, 11, 12]


def test_a_second_writer_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(RefusedError, match="another writer"):
        Journal(tmp_path)
    Journal(tmp_path).close()


def test_group_commit_reaches_the_disk_by_itself(tmp_path: Path) -> None:
    with Journal(tmp_path, group_commit_seconds=0.01) as journal:
        sequence = journal.append("tick", b"1", 1)
        deadline = time.monotonic() + 10
        while journal.durable_sequence < sequence and time.monotonic() < deadline:
            time.sleep(0.005)
        assert journal.durable_sequence == sequence
        assert [entry.payload for entry in read_entries(tmp_path)] == [b"1"]


def test_a_durable_entry_takes_the_earlier_ones_along(tmp_path: Path) -> None:
    with Journal(tmp_path, group_commit_seconds=60) as journal:
        journal.append("tick", b"1", 1)
        assert journal.durable_sequence == 0
        journal.append("order", b"2", 2, durable=True)
        assert journal.durable_sequence == 2
        assert [entry.kind for entry in read_entries(tmp_path)] == ["tick", "order"]


def test_damage_before_a_synchronised_entry_is_an_error_not_a_repair(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        fill(journal, 10, durable=True)
    path = next(tmp_path.glob("*.journal"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="damaged"):
        Journal(tmp_path)
    assert path.read_bytes() == bytes(content)


def test_a_journal_is_not_whole_with_a_synchronised_entry_behind_the_damage(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for number in range(5):
            journal.append("tick", b"x" * 50, number, durable=number == 4)
        assert check_end(tmp_path) == 0, "room ahead of a writer is no torn end"
    path = next(tmp_path.glob("*.journal"))
    content = path.read_bytes()
    path.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    with pytest.raises(IntegrityError, match="before entry 5 which was on disk"):
        check_end(tmp_path)
    path.write_bytes(content[:-3])
    assert check_end(tmp_path) > 0, "the last entry is torn: a crash does that"


def test_damage_in_an_earlier_segment_is_an_error(tmp_path: Path) -> None:
    with Journal(tmp_path, segment_bytes=500) as journal:
        fill(journal, 40)
    first = min(tmp_path.glob("*.journal"))
    os.truncate(first, first.stat().st_size - 3)
    with pytest.raises(IntegrityError):
        list(read_entries(tmp_path))


def test_reading_a_folder_without_a_journal_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no journal"):
        list(read_entries(tmp_path))


def test_a_follower_sees_each_entry_once_across_segments(tmp_path: Path) -> None:
    seen: list[int] = []
    with Journal(tmp_path, segment_bytes=700) as journal:
        follower = Follower(tmp_path)
        for _ in range(12):
            fill(journal, 7)
            journal.sync()
            while found := follower.read(journal.durable_sequence, limit=5):
                seen += [entry.sequence for entry in found]
    assert seen == list(range(1, 85))
    assert [entry.sequence for entry in Follower(tmp_path, 50).read(53)] == [50, 51, 52, 53]


def test_a_follower_reports_a_missing_entry(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        fill(journal, 3, durable=True)
    with pytest.raises(IntegrityError):
        Follower(tmp_path).read(4)
