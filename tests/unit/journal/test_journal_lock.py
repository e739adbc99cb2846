"""One writer at a time, and looking whether there is one keeps nobody out."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.errors import RefusedError
from core.journal import Journal
from core.journal.lock import is_locked
from trading.control.sessions import is_running

HOLD = """
import sys, time
from pathlib import Path
from core.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_looking_never_keeps_a_writer_out(tmp_path: Path) -> None:
    """A journal is opened again and again while two others look without a pause; each opening works and is seen."""
    journal = tmp_path / "journal"
    Journal(journal).close()
    over = threading.Event()
    looks = [0, 0]

    def look(number: int) -> None:
        while not over.is_set():
            is_running(tmp_path)
            looks[number] += 1

    watchers = [threading.Thread(target=look, args=(number,)) for number in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(200):
            with Journal(journal):
                assert is_running(tmp_path)
            assert not is_running(tmp_path)
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()
    assert min(looks) > 0


def test_a_process_that_is_killed_gives_it_back(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert not is_locked(journal)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(journal)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(journal)
        with pytest.raises(RefusedError, match="another writer"):
            Journal(journal)
        assert is_locked(journal)
        os.kill(holder.pid, signal.SIGKILL)
    assert not is_locked(journal)
    Journal(journal).close()
