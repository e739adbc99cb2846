"""Whoever is killed, and whenever: nothing of what was started survives. Every check is by process, not by log."""

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.embedded import guardian
from core.embedded.guarded import GuardedProcess, end_marked

OWNER = Path(__file__).with_name("guarded_owner.py")
EXPECTED = 4  # the command, the child in its own session, the deaf one, the daemon


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def start_owner(folder: Path) -> tuple[subprocess.Popen[str], int, str]:
    owner = subprocess.Popen([sys.executable, str(OWNER), str(folder / "log")], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid, token = owner.stdout.readline().split()
    return owner, int(pid), token


def grown(token: str) -> bool:
    return len(guardian.marked(token)) >= EXPECTED + 1  # and the guardian, which carries the mark too


def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    owner, _, token = start_owner(tmp_path)
    assert eventually(lambda: grown(token))
    owner.kill()
    owner.wait()
    assert eventually(lambda: not guardian.marked(token)), guardian.marked(token)


def test_an_owner_killed_at_any_moment_of_the_start_leaves_nothing(tmp_path: Path) -> None:
    moments = random.Random(7)
    for round_number in range(6):
        mark = f"round-{round_number}-{os.getpid()}"
        environment = {**os.environ, "TIDEGATE_TEST_MARK": mark}
        owner = subprocess.Popen(
            [sys.executable, str(OWNER), str(tmp_path / f"log{round_number}")],
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        time.sleep(moments.uniform(0.02, 0.4))
        owner.kill()
        owner.wait()
        assert eventually(lambda mark=mark: not carrying(mark)), carrying(mark)


def carrying(mark: str) -> list[int]:
    """Every living process whose environment holds our mark: found without any help of the code under test."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"TIDEGATE_TEST_MARK={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    found += [int(entry.name)] if state not in "ZX" else []
            except OSError:
                continue
    return found


def test_a_killed_guardian_is_cleaned_up_after_by_its_owner(tmp_path: Path) -> None:
    child = runpy.run_path(str(OWNER))["CHILD"]
    process = GuardedProcess([sys.executable, "-c", child], log_file=tmp_path / "log", grace_seconds=0.5).start()
    assert eventually(lambda: grown(process.token))
    os.kill(process.guardian_pid, signal.SIGKILL)
    process.stop()
    assert not guardian.marked(process.token)


def test_owner_and_guardian_killed_together_are_cleaned_up_after_by_the_mark(tmp_path: Path) -> None:
    owner, pid, token = start_owner(tmp_path)
    assert eventually(lambda: grown(token))
    os.kill(pid, signal.SIGKILL)
    owner.kill()
    owner.wait()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        end_marked(token, grace_seconds=0.5)
        assert not guardian.marked(token)
        assert bystander.poll() is None, "a foreign process was touched"
    finally:
        bystander.kill()
        bystander.wait()


def test_a_crashing_command_takes_its_children_along(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, os\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "os.abort()"
    )
    process = GuardedProcess([sys.executable, "-c", code], log_file=tmp_path / "log").start()
    assert process.wait(15.0) == 128 + signal.SIGABRT
    assert not guardian.marked(process.token)


def test_the_thread_that_started_a_command_may_end(tmp_path: Path) -> None:
    """PR_SET_PDEATHSIG fires at the end of the starting thread too: the guardian must not take that for the end."""
    import threading

    started: list[GuardedProcess] = []

    def start() -> None:
        started.append(
            GuardedProcess([sys.executable, "-c", "import time; time.sleep(600)"], log_file=tmp_path / "log").start()
        )

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.5)
    with started[0] as process:
        assert process.running


def test_a_released_command_outlives_its_owner_and_ends_on_sigterm(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom core.embedded.guarded import GuardedProcess\n"
        "p = GuardedProcess([sys.executable, '-c', 'import time; time.sleep(600)'], log_file=Path(sys.argv[1]))\n"
        "p.start().release()\nprint(p.guardian_pid, p.token, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    pid, token = done.stdout.split()
    time.sleep(1.5)  # longer than the guardian's look at its parent
    assert len(guardian.marked(token)) == 2
    os.kill(int(pid), signal.SIGTERM)
    assert eventually(lambda: not guardian.marked(token))


def test_a_reused_process_number_is_never_signalled() -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        start = guardian.process_start(bystander.pid)
        assert start is not None
        assert end_marked("", grace_seconds=0.2, also=[(bystander.pid, start + 1)]) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("command", [["/nonexistent/program"], [sys.executable, "-c", "raise SystemExit(7)"]])
def test_the_exit_code_is_the_commands(tmp_path: Path, command: list[str]) -> None:
    process = GuardedProcess(command, log_file=tmp_path / "log").start()
    assert process.wait(10.0) == (127 if command[0].startswith("/nonexistent") else 7)
