"""A crash may tear the end of a journal at any byte: every entry that was synchronised stands, and writing goes on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import IntegrityError
from core.journal import Journal, read_entries, read_segment
from core.journal.entry import HEAD

PAYLOADS = st.lists(st.tuples(st.binary(max_size=40), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=PAYLOADS, data=st.data())
def test_garbage_after_the_synchronised_entries_is_cut(
    tmp_path: Path, payloads: list[tuple[bytes, bool]], data: st.DataObject
) -> None:
    folder = tmp_path / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    with Journal(folder, group_commit_seconds=60) as journal:
        for payload, _ in payloads:
            journal.append("order", payload, 1, durable=True)
    path = next(folder.glob("*.journal"))
    garbage = data.draw(st.binary(min_size=1, max_size=80))
    room = data.draw(st.sampled_from([0, 1, 4096]))
    path.write_bytes(path.read_bytes() + garbage + bytes(room))
    with Journal(folder) as journal:
        if garbage.strip(b"\0"):
            assert journal.repaired is not None
            assert (folder / journal.repaired.kept_as).read_bytes() == garbage.rstrip(b"\0")
        else:
            assert journal.repaired is None  # zeros are room for entries, nothing torn
        assert journal.last_sequence == len(payloads)
    assert [entry.payload for entry in read_entries(folder)] == [payload for payload, _ in payloads]


@pytest.mark.parametrize("room", [0, 700])
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=PAYLOADS)
def test_torn_at_every_byte(tmp_path: Path, room: int, payloads: list[tuple[bytes, bool]]) -> None:
    """Cut a journal at each offset, the rest gone or zero: whole entries stand, the rest is gone, appending works."""
    origin = tmp_path / "origin"
    shutil.rmtree(origin, ignore_errors=True)
    ends: list[int] = []
    with Journal(origin, group_commit_seconds=60) as journal:
        path = next(origin.glob("*.journal"))
        for payload, durable in payloads:
            journal.append("order", payload, 1, durable=durable)
            journal.sync()
            ends.append(read_segment(path)[1])
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        folder = tmp_path / "torn"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / path.name).write_bytes(content[:cut] + bytes(room))
        # An entry whose last bytes are zeros is whole again where zeros stand in their place.
        whole = sum(end <= cut or (end <= cut + room and not any(content[cut:end])) for end in ends)
        with Journal(folder, group_commit_seconds=60) as journal:
            assert journal.last_sequence == whole
            assert journal.append("after", b"again", 2, durable=True) == whole + 1
        kept = list(read_entries(folder))
        assert [entry.payload for entry in kept] == [payload for payload, _ in payloads[:whole]] + [b"again"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), last=st.booleans())
def test_a_flipped_bit_is_never_read_as_an_entry(tmp_path: Path, place: float, bit: int, last: bool) -> None:
    """A flip before a synchronised entry is an error; in the last entry, or behind it, it is a torn end."""
    folder = tmp_path / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    with Journal(folder, group_commit_seconds=60) as journal:
        path = next(folder.glob("*.journal"))
        for number in range(6):
            journal.append("order", b"payload %d" % number, number, durable=True)
            if number == 4:
                start = read_segment(path)[1]
        end = read_segment(path)[1]
    content = bytearray(path.read_bytes() + bytes(300))
    low, high = (start, len(content)) if last else (HEAD.size, start)
    position = low + int(place * (high - low))
    content[position] ^= 1 << bit
    path.write_bytes(content)
    if not last:
        with pytest.raises(IntegrityError, match="damaged"):
            Journal(folder)
        assert path.read_bytes() == bytes(content)
        return
    with Journal(folder) as journal:
        assert journal.repaired is not None
        assert journal.last_sequence == (6 if position >= end else 5)
        journal.append("order", b"next", 9, durable=True)
    assert [entry.payload for entry in read_entries(folder)][-1] == b"next"


def test_pages_written_out_of_order_after_the_last_sync_are_cut(tmp_path: Path) -> None:
    """An unsynchronised entry lost and its successor kept: both go, for nobody waited for either."""
    with Journal(tmp_path, group_commit_seconds=60) as journal:
        journal.append("order", b"a", 1, durable=True)
        path = next(tmp_path.glob("*.journal"))
        size = read_segment(path)[1]
        journal.append("tick", b"b" * 20, 2)
        journal.append("tick", b"c" * 20, 3)
    content = bytearray(path.read_bytes())
    content[size : size + 30] = bytes(30)
    path.write_bytes(content)
    with Journal(tmp_path) as journal:
        assert journal.last_sequence == 1


CRASHER = """
import os, sys
from pathlib import Path
from core.journal import Journal
journal = Journal(Path(sys.argv[1]), segment_bytes=4000)
for index in range(10_000_000):
    journal.append("order" if index % 3 == 0 else "tick", str(index).encode(), index, durable=index % 3 == 0)
    if index % 3 == 0:
        os.write(1, f"{index + 1}\\n".encode())
"""


def test_a_killed_writer_loses_no_confirmed_entry(tmp_path: Path) -> None:
    """SIGKILL a writing process: whatever it confirmed as durable is there, without gaps."""
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        with subprocess.Popen([sys.executable, "-c", CRASHER, str(folder)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(100 * (attempt + 1)):
                process.stdout.readline()
            process.kill()
            rest = process.stdout.read().decode().splitlines()
        confirmed = int([line for line in rest if line][-2]) if len(rest) > 2 else 0
        with Journal(folder) as journal:
            assert journal.last_sequence >= confirmed
        entries = list(read_entries(folder))
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        assert all(int(entry.payload) == entry.sequence - 1 for entry in entries)
