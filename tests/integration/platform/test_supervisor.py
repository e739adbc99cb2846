"""The supervisor over real processes: order, readiness, failure, crash, kill, release."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.embedded import guardian
from core.errors import BadInputError, UnavailableError
from tidegate import daemon
from tidegate.processes.memory import proportional_set_size, tree
from tidegate.processes.ports import choose_port
from tidegate.processes.readiness import answers, request_json
from tidegate.processes.records import boot_id, folder, read_records
from tidegate.processes.service import CommandService, Launch, python
from tidegate.processes.supervisor import Event, Supervisor

SERVER = (
    "import http.server, sys, time\ntime.sleep(float(sys.argv[2]))\n"
    "http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def web(name: str, where: Path, delay: float = 0.0, depends_on: tuple[str, ...] = (), port: int = 0) -> CommandService:
    chosen = choose_port(port, name)
    url = f"http://127.0.0.1:{chosen}"

    def launch() -> Launch:
        ready = answers("GET", f"{url}/", accept=lambda answer: "Directory listing" in str(answer))
        return Launch(python("-c", SERVER, str(chosen), str(delay)), ready, url, directory=where)

    return CommandService(name, launch, depends_on=depends_on, timeout_seconds=20.0, grace_seconds=2.0)


def test_services_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    events: list[Event] = []
    with Supervisor(tmp_path, events.append) as supervisor:
        supervisor.start(
            web("second", tmp_path, depends_on=("first",)), web("beside", tmp_path), web("first", tmp_path, delay=0.3)
        )
        order = [(event.service, event.state) for event in events]
        assert order.index(("first", "ready")) < order.index(("second", "starting"))
        assert order.index(("beside", "starting")) < order.index(("first", "ready"))
        assert [record.name for record in read_records(tmp_path)] == list(supervisor.services)
        memory = proportional_set_size(
            pid for s in supervisor.services.values() if s.process for pid in tree(s.process.guardian_pid)
        )
        assert 5e6 < memory < 500e6
        tokens = [s.process.token for s in supervisor.services.values() if s.process]
    order = [(event.service, event.state) for event in events]
    assert order.index(("second", "stopped")) < order.index(("first", "stopping"))
    assert not any(guardian.marked(token) for token in tokens)
    assert read_records(tmp_path) == []


def test_one_that_fails_takes_the_others_of_the_call_down_and_says_its_last_word(tmp_path: Path) -> None:
    def launch() -> Launch:
        return Launch(python("-c", "raise SystemExit('no licence for Tuesdays')"), lambda: False)

    broken = CommandService("broken", launch)
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(web("kept", tmp_path))
        with pytest.raises(UnavailableError, match=r"broken ended with code 1: no licence for Tuesdays; see "):
            supervisor.start(web("fine", tmp_path), broken)
        assert list(supervisor.services) == ["kept"]
        assert [record.name for record in read_records(tmp_path)] == ["kept"]


def test_an_open_port_that_answers_wrongly_is_not_ready(tmp_path: Path) -> None:
    service = web("mute", tmp_path)
    port = choose_port(0, "mute")
    code = f"import socket, time\ns = socket.socket()\ns.bind(('127.0.0.1', {port}))\ns.listen()\ntime.sleep(600)"
    service = CommandService(
        "mute",
        lambda: Launch(python("-c", code), answers("GET", f"http://127.0.0.1:{port}/")),
        timeout_seconds=3.0,
    )
    with Supervisor(tmp_path) as supervisor, pytest.raises(UnavailableError, match="mute gave no answer in 3 s"):
        supervisor.start(service)


def test_a_dependency_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(UnavailableError, match="late needs early"):
        supervisor.start(web("late", tmp_path, depends_on=("early",)))


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInputError, match=f"port {port} for MLflow is in use"):
            choose_port(port, "MLflow")
        assert choose_port(port, "MLflow", any_if_taken=True) != port


def test_a_crash_is_followed_by_a_start_on_the_same_address(tmp_path: Path) -> None:
    events: list[Event] = []
    stop = threading.Event()
    with Supervisor(tmp_path, events.append) as supervisor:
        service = web("crashing", tmp_path)
        supervisor.start(service)
        watch = threading.Thread(target=supervisor.watch, args=(stop,))
        watch.start()
        try:
            for kill_guardian in (False, True):
                process = service.process
                assert process is not None
                old = process.pid
                os.kill(process.guardian_pid if kill_guardian else old, signal.SIGKILL)
                assert eventually(lambda old=old: service.process is not None and service.process.pid not in (0, old))
                assert eventually(lambda: [e.state for e in events][-1] == "ready")
                assert "Directory listing" in str(request_json("GET", service.url))
                assert guardian.process_start(old) is None
            assert [record.restarts for record in read_records(tmp_path)] == [2]
        finally:
            stop.set()
            watch.join()


OWNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_supervisor import web
from tidegate.processes.supervisor import Supervisor
state = Path(sys.argv[1])
with Supervisor(state) as supervisor:
    print("begun", flush=True)
    supervisor.start(web("one", state), web("two", state, depends_on=("one",)))
    if sys.argv[3] == "release":
        supervisor.release()
    else:
        print("ready", flush=True)
        time.sleep(600)
"""


def own(state: Path, what: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", OWNER, str(state), str(Path(__file__).parent), what]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.4, 1.0])
def test_a_supervisor_killed_at_any_moment_leaves_nothing_and_the_next_one_starts(tmp_path: Path, delay: float) -> None:
    owner = own(tmp_path, "wait")
    assert owner.stdout is not None
    assert owner.stdout.readline() == "begun\n"
    time.sleep(delay)
    owner.kill()
    owner.wait()
    with Supervisor(tmp_path) as supervisor:
        assert not any(str(tmp_path) in line for line in commands(besides=os.getpid()))
        supervisor.start(web("one", tmp_path))


def commands(besides: int) -> list[str]:
    """Working folders of all living processes: our web servers run in the state directory."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != besides:
            try:
                found.append(str((entry / "cwd").readlink()))
            except OSError:
                continue
    return found


def test_a_second_owner_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(web("one", tmp_path))
        with pytest.raises(UnavailableError, match="already run"):
            Supervisor(tmp_path, patience_seconds=0.3).open()


def test_released_services_are_ended_by_down_alone(tmp_path: Path) -> None:
    owner = own(tmp_path, "release")
    assert owner.wait(30) == 0
    records = read_records(tmp_path)
    assert [record.name for record in records] == ["one", "two"]
    assert all("Directory listing" in str(request_json("GET", record.url)) for record in records)
    assert daemon.end(tmp_path) == ["one", "two"]
    assert not any(guardian.marked(record.token) for record in records)
    assert daemon.end(tmp_path) == []


def test_records_of_another_boot_or_damaged_ones_touch_nobody(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        start = guardian.process_start(bystander.pid)
        folder(tmp_path).mkdir()
        identity = f"[{bystander.pid}, {start}]"
        (folder(tmp_path) / "old.json").write_text(
            f'{{"name": "old", "guardian": {identity}, "command": {identity}, "token": "", "boot": "another"}}'
        )
        (folder(tmp_path) / "torn.json").write_text('{"name": "to')
        assert boot_id() != "another"
        assert daemon.end(tmp_path) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
