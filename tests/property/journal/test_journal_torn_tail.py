"""A crash may tear the end of a journal at any byte: every entry that was synchronised stands, and writing goes on."""

import shutil
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.journal import Journal, read_entries

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
    path.write_bytes(path.read_bytes() + data.draw(st.binary(min_size=1, max_size=80)))
    with Journal(folder) as journal:
        assert journal.repaired is not None
        assert journal.repaired.bytes_cut == (folder / journal.repaired.kept_as).stat().st_size
        assert journal.last_sequence == len(payloads)
    assert [entry.payload for entry in read_entries(folder)] == [payload for payload, _ in payloads]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=PAYLOADS)
def test_torn_at_every_byte(tmp_path: Path, payloads: list[tuple[bytes, bool]]) -> None:
    """Cut a journal at each offset: the entries whole before the cut stand, later ones are gone, appending works."""
    origin = tmp_path / "origin"
    shutil.rmtree(origin, ignore_errors=True)
    ends: list[int] = []
    with Journal(origin, group_commit_seconds=60) as journal:
        path = next(origin.glob("*.journal"))
        for payload, durable in payloads:
            journal.append("order", payload, 1, durable=durable)
            journal.sync()
            ends.append(path.stat().st_size)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        folder = tmp_path / "torn"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / path.name).write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        with Journal(folder, group_commit_seconds=60) as journal:
            assert journal.last_sequence == whole
            assert journal.append("after", b"again", 2, durable=True) == whole + 1
        kept = list(read_entries(folder))
        assert [entry.payload for entry in kept] == [payload for payload, _ in payloads[:whole]] + [b"again"]


def test_pages_written_out_of_order_after_the_last_sync_are_cut(tmp_path: Path) -> None:
    """An unsynchronised entry lost and its successor kept: both go, for nobody waited for either."""
    with Journal(tmp_path, group_commit_seconds=60) as journal:
        journal.append("order", b"a", 1, durable=True)
        path = next(tmp_path.glob("*.journal"))
        size = path.stat().st_size
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
