"""Room ahead of the entries: it is zeros, it is given back, and a full disk fails loudly without losing what stood."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.crash_points import VARIABLE
from core.errors import UnavailableError
from core.journal import Follower, Journal, read_entries, read_segment, written_bytes


def segment(folder: Path) -> Path:
    return max(folder.glob("*.journal"))


def test_room_is_kept_ahead_and_given_back_at_the_end(tmp_path: Path) -> None:
    with Journal(tmp_path, reserve_bytes=8192) as journal:
        journal.append("order", b"x", 1, durable=True)
        path = segment(tmp_path)
        assert path.stat().st_size > read_segment(path)[1]
        assert written_bytes(tmp_path) == read_segment(path)[1] == read_segment(path)[2]
        assert Follower(tmp_path).read(1)[0].payload == b"x"
    assert segment(tmp_path).stat().st_size == written_bytes(tmp_path)


def test_the_room_grows_while_entries_are_written(tmp_path: Path) -> None:
    with Journal(tmp_path, reserve_bytes=4096, group_commit_seconds=0.001) as journal:
        for number in range(400):
            journal.append("order", b"y" * 40, number, durable=number % 7 == 0)
        deadline = time.monotonic() + 10
        while segment(tmp_path).stat().st_size - written_bytes(tmp_path) < 1000 and time.monotonic() < deadline:
            journal.append("tick", b"", 1)
            time.sleep(0.005)
        assert segment(tmp_path).stat().st_size > written_bytes(tmp_path)
    assert [entry.sequence for entry in read_entries(tmp_path)] == list(range(1, journal.last_sequence + 1))


def test_a_journal_without_room_reads_and_goes_on_with_it(tmp_path: Path) -> None:
    with Journal(tmp_path, reserve_bytes=0) as journal:
        journal.append("order", b"old", 1, durable=True)
        assert segment(tmp_path).stat().st_size == written_bytes(tmp_path)
    with Journal(tmp_path) as journal:
        assert journal.append("order", b"new", 2, durable=True) == 2
    assert [entry.payload for entry in read_entries(tmp_path)] == [b"old", b"new"]


def test_filling_ahead_never_overwrites_an_entry(tmp_path: Path) -> None:
    """A second thread fills as fast as it can while entries are written past the room."""
    with Journal(tmp_path, reserve_bytes=512, segment_bytes=40_000, group_commit_seconds=0.0005) as journal:
        stop = threading.Event()

        def fill() -> None:
            while not stop.is_set():
                journal._fill_reserve()  # pyright: ignore[reportPrivateUsage]

        thread = threading.Thread(target=fill)
        thread.start()
        for number in range(1500):
            journal.append("order", number.to_bytes(4) * (1 + number % 60), number, durable=number % 50 == 0)
        stop.set()
        thread.join()
    entries = list(read_entries(tmp_path))
    assert [int.from_bytes(entry.payload[:4]) for entry in entries] == list(range(1500))


def test_a_full_disk_fails_the_append_and_keeps_what_stood(tmp_path: Path) -> None:
    """A file-size limit stands for the full disk: the write is refused, nothing more is taken, reopening mends it."""
    program = """
import resource, signal, sys
from pathlib import Path
from core.errors import UnavailableError
from core.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
journal = Journal(Path(sys.argv[1]))
done = 0
try:
    while True:
        journal.append("order", b"z" * 100, done, durable=True)
        done += 1
except UnavailableError as error:
    assert "cannot be written" in str(error)
try:
    journal.append("order", b"z", 1)
except UnavailableError:
    print(done)
"""
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    done = int(result.stdout)
    assert done > 50
    with Journal(tmp_path) as journal:
        assert journal.last_sequence >= done
        journal.append("order", b"after", 1, durable=True)


@pytest.mark.parametrize("point", ["journal.buffered", "journal.written", "journal.rotated"])
def test_killed_at_each_place_of_the_writer(tmp_path: Path, point: str) -> None:
    program = """
import os, sys
from pathlib import Path
from core.journal import Journal
journal = Journal(Path(sys.argv[1]), segment_bytes=1500)
for number in range(1000):
    journal.append("order", str(number).encode() * 5, number, durable=True)
    os.write(1, f"{number + 1}\\n".encode())
"""
    environment = os.environ | {VARIABLE: f"{point}:3"}
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == -signal.SIGKILL
    confirmed = len(result.stdout.split())
    with Journal(tmp_path) as journal:
        assert confirmed <= journal.last_sequence <= confirmed + 1
        journal.append("order", b"again", 1, durable=True)
    entries = list(read_entries(tmp_path))
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))


def test_an_unwritable_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be opened"):
        Journal(tmp_path / "file" / "journal")
