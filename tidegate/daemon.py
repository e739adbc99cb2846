"""``tidegate up`` behind the terminal: the supervisor as a process of its own, and how others reach it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

from core.embedded.guardian import process_start, send
from core.errors import UnavailableError, UsageError
from core.logging import get_logger
from core.settings import Settings
from tidegate.processes.records import SUPERVISOR, end_recorded, read_records, write_own_record
from tidegate.processes.service import Service
from tidegate.processes.supervisor import Event, Supervisor
from tidegate.services.deployments import deployments_service
from tidegate.services.environment import platform_environment, quiet_this_process
from tidegate.services.mlflow import mlflow_service
from tidegate.services.prefect import prefect_service
from tidegate.services.pusher import pusher_service
from tidegate.services.release import release_service
from tidegate.services.serving import serving_service
from tidegate.services.stores import postgres_service, redis_service

_REPORT = "TIDEGATE_UP_REPORT"  # the pipe on which a spawned supervisor tells how its start goes
NAMES = ("postgres", "redis", "mlflow", "prefect", "deployments", "pusher", "serving", "release")
log = get_logger("tidegate")


def run(settings: Settings, workspace: Path, without: Collection[str], as_json: bool) -> None:
    """Start the services in this process and keep them up until SIGTERM or Ctrl-C.

    Raises:
        BadInputError: a port is in use, or a wheel is missing.
        UnavailableError: they run already, or one does not come up.
        UsageError: ``without`` names no service.
    """
    _check_names(without)
    quiet_this_process()
    report = _Report()
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    try:
        with Supervisor(settings.state, report.event) as supervisor:
            write_own_record(settings.state, SUPERVISOR)
            try:
                _start(supervisor, settings, workspace, without)
                services = [{"name": name, "url": s.url} for name, s in supervisor.services.items()]
                report.ready({"services": services, "state": str(settings.state), "pid": os.getpid()}, as_json)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, on_signal)
                supervisor.watch(stop)
            finally:
                (settings.state / "run" / f"{SUPERVISOR}.json").unlink(missing_ok=True)
    except BaseException as error:
        report.failed(error)
        raise


def _check_names(without: Collection[str]) -> None:
    unknown = sorted(set(without) - set(NAMES))
    if unknown:
        raise UsageError(f"no service {unknown[0]!r}: there are {', '.join(NAMES)}")


def _start(supervisor: Supervisor, settings: Settings, workspace: Path, without: Collection[str]) -> None:
    """Start what the settings do not name elsewhere: first the stores and servers, then what needs their addresses."""
    state = settings.state
    wanted: list[Service] = []
    if settings.database.url is None:
        wanted.append(postgres_service(state))
    if settings.redis.url is None:
        wanted.append(redis_service(state))
    if settings.mlflow.tracking_uri is None:
        wanted.append(mlflow_service(state, settings.mlflow.port, settings=settings))
    prefect = prefect_service(state, settings.prefect.port)
    if settings.prefect.api_url is None:
        wanted.append(prefect)
    supervisor.start(*(service for service in wanted if service.name not in without))
    running = supervisor.services

    def url(name: str) -> str | None:
        return running[name].url if name in running else None

    environment = platform_environment(
        settings,
        state=state,
        database_url=url("postgres"),
        redis_url=url("redis"),
        mlflow_uri=url("mlflow"),
        prefect_api_url=settings.prefect.api_url or url("prefect"),
    )
    later: list[Service] = []
    if "PREFECT_API_URL" in environment:
        needs = [prefect.name] if prefect.name in running else []
        later.append(deployments_service(environment["PREFECT_API_URL"], workspace, state, environment, needs))
    redis_url = settings.redis.url.get_secret_value() if settings.redis.url else url("redis")
    if redis_url:
        later.append(pusher_service(redis_url, workspace, environment, ["redis"] if "redis" in running else []))
    later.append(serving_service(state, environment, settings.serving.port))
    # It waits for nobody: without database or registry the guard goes on, and the rest follows when they answer.
    later.append(release_service(state, workspace, environment, settings.release.port))
    supervisor.start(*(service for service in later if service.name not in without))


class _Report:
    """Tells how the start goes: to the log, and to the process that waits for it."""

    def __init__(self) -> None:
        descriptor = os.environ.pop(_REPORT, None)
        self._pipe = os.fdopen(int(descriptor), "w", buffering=1) if descriptor else None

    def event(self, event: Event) -> None:
        """Pass on what happens to a service."""
        log.info(event.state, service=event.service, detail=event.detail, seconds=round(event.seconds, 2))
        self._write({"event": event.state, "service": event.service, "detail": event.detail, "seconds": event.seconds})

    def ready(self, result: dict[str, Any], as_json: bool) -> None:
        """Everything answers."""
        if self._pipe is not None:
            self._write({"ready": result})
            self._close()
        elif as_json:
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()
        else:
            for service in result["services"]:
                sys.stderr.write(f"{service['name']:<12} {service['url']}\n")
            sys.stderr.write("Ctrl-C ends them all.\n")

    def failed(self, error: BaseException) -> None:
        """It did not come up."""
        message = getattr(error, "message", None) or repr(error)
        self._write({"error": message, "exit_code": getattr(error, "exit_code", 1)})
        self._close()

    def _write(self, value: dict[str, Any]) -> None:
        if self._pipe is not None:
            try:
                self._pipe.write(json.dumps(value) + "\n")
            except OSError:  # nobody waits any more; the services are what matters
                self._pipe = None

    def _close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def spawn(settings: Settings, workspace: Path, without: Collection[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Start the supervisor behind the terminal and return its report once everything answers.

    Raises:
        TidegateError: as ``run``; nothing is left running then.
    """
    from flows.pipeline import error_of

    _check_names(without)
    logs = settings.state / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    read, write = os.pipe()
    command = [sys.executable, "-m", "tidegate.cli", "up", "--foreground", "--workspace", str(workspace)]
    command += [word for name in without for word in ("--without", name)]
    with (logs / "supervisor.log").open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "TIDEGATE_STATE_DIRECTORY": str(settings.state), _REPORT: str(write), "NO_COLOR": "1"},
            pass_fds=(write,),
            start_new_session=True,
        )
    os.close(write)
    try:
        with os.fdopen(read) as lines:
            for line in lines:
                told: dict[str, Any] = json.loads(line)
                if "ready" in told:
                    return told["ready"]
                if "error" in told:
                    process.wait(60)
                    raise error_of(int(told["exit_code"]), str(told["error"]))
                detail = f": {told['detail']}" if told["detail"] else ""
                seconds = f" ({told['seconds']:.1f} s)" if told["seconds"] else ""
                say(f"{told['service']:<12} {told['event']}{detail}{seconds}")
        raise UnavailableError(f"the supervisor ended with code {process.wait(60)}; see {logs / 'supervisor.log'}")
    except BaseException:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        raise


def end(state: Path, patience_seconds: float = 60.0) -> list[str]:
    """End what runs on a state directory: the supervisor first, which stops the others in order, then what is left."""
    records = read_records(state)
    names = [record.name for record in records if record.alive and record.name != SUPERVISOR]
    for record in records:
        if record.name == SUPERVISOR and record.alive:
            send(record.guardian[0], signal.SIGTERM, record.guardian[1])
            deadline = time.monotonic() + patience_seconds
            while process_start(record.guardian[0]) == record.guardian[1] and time.monotonic() < deadline:
                time.sleep(0.05)
    return sorted({*names, *(name for name in end_recorded(state) if name != SUPERVISOR)})
