"""The services the demo needs, and what they cost: every real server, on free ports, ended with the demo."""

import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from core.embedded.guarded import GuardedProcess
from core.errors import UnavailableError
from core.files import read_json
from core.settings import Settings
from tidegate.mlflow_app.account import sign_in_this_process
from tidegate.platform import Addresses
from tidegate.processes.memory import proportional_set_size, tree
from tidegate.processes.readiness import read_ready_file, request
from tidegate.processes.service import CommandService, Launch, last_line, python
from tidegate.processes.supervisor import Supervisor
from tidegate.services.environment import QUIET
from tidegate.services.mlflow import mlflow_service
from tidegate.services.prefect import prefect_service
from tidegate.services.pusher import GROUP
from tidegate.services.serving import serving_service
from tidegate.services.stores import postgres_service, redis_service

PRACTICE = "practice-broker"
TRADER = "trader"


class MemoryMeter:
    """Samples the proportional set size of this process and all it started; ``peak_mb`` is the largest sum seen."""

    def __init__(self, pid: int, extra: Callable[[], list[int]], interval_seconds: float = 1.0) -> None:
        self._pid = pid
        self._extra = extra
        self._interval = interval_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> "MemoryMeter":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            pids = {pid for root in [self._pid, *self._extra()] for pid in tree(root)}
            self.peak_mb = max(self.peak_mb, proportional_set_size(pids) / 2**20)


@contextmanager
def demo_platform(settings: Settings, supervisor: Supervisor) -> Generator[Addresses]:
    """Start databases, MLflow and Prefect at the same time and yield their addresses."""
    state = settings.state
    sign_in_this_process(settings)
    postgres, redis = postgres_service(state), redis_service(state)
    mlflow = mlflow_service(state, settings.mlflow.port, any_port_if_taken=True, settings=settings)
    prefect = prefect_service(state, settings.prefect.port, any_port_if_taken=True)
    supervisor.start(postgres, redis, mlflow, prefect)
    yield Addresses(
        settings,
        state,
        database_url=postgres.url,
        redis_url=redis.url,
        mlflow_uri=mlflow.url,
        prefect_api_url=prefect.url,
    )


def serving(settings: Settings, environment: Mapping[str, str]) -> CommandService:
    """The Ray Serve application; it may start before there is a model and picks it up when it is published."""
    return serving_service(settings.state, environment, settings.serving.port, any_port_if_taken=True)


def await_champion(url: str, model_digest: str, timeout_seconds: float = 30.0) -> None:
    """Wait until the replica itself says that it serves this model.

    Raises:
        UnavailableError: it does not within the time.
    """
    deadline = time.monotonic() + timeout_seconds
    answer: Any = None
    while time.monotonic() < deadline:
        try:
            status, answer = request("GET", f"{url}/readyz")
        except OSError:
            status = 0
        if status == 200 and model_digest in str(answer):
            return
        time.sleep(0.1)
    raise UnavailableError(f"the inference service at {url} does not serve model {model_digest[:12]}: it said {answer}")


def practice_broker(
    state: Path, workspace: Path, feed: str, environment: Mapping[str, str], folder: Path
) -> CommandService:
    """A fresh practice account on the market of the workspace, in lockstep with the trader."""
    ready_file = folder / "practice-broker.json"

    def launch() -> Launch:
        folder.mkdir(parents=True, exist_ok=True)
        ready_file.unlink(missing_ok=True)
        command = python("-m", "trading.practice.server", "--workspace", str(workspace), "--feed", feed,
                         "--clock", "lockstep", "--port", "0", "--ready-file", str(ready_file))  # fmt: skip
        variables = {**QUIET, **environment, "TIDEGATE_STATE_DIRECTORY": str(state)}
        return Launch(command, lambda: _broker_answers(ready_file), "", variables, workspace)

    return CommandService(PRACTICE, launch, timeout_seconds=60.0, grace_seconds=5.0)


def _broker_answers(ready_file: Path) -> bool:
    ready = read_ready_file(ready_file)
    if ready is None:
        return False
    try:
        return request("GET", f"{ready['rest_url']}/admin/state")[0] == 200
    except OSError:
        return False


def published_steps(redis_url: str, stream: str) -> int:
    """Return how many steps of live features stand in the stream."""
    import redis

    client: Any = redis.Redis.from_url(redis_url, socket_timeout=5.0)
    try:
        return int(client.xlen(stream))
    except redis.RedisError as error:
        raise UnavailableError(f"Redis does not answer: {error!r}") from None
    finally:
        client.close()


def await_pushed(redis_url: str, stream: str, before: int, timeout_seconds: float = 60.0) -> str:
    """Wait until the pusher has written every live row into the online store; say how many steps came since ``before``.

    Raises:
        UnavailableError: rows are still waiting after the time, or the trader published none.
    """
    import redis

    client: Any = redis.Redis.from_url(redis_url, socket_timeout=5.0)
    deadline = time.monotonic() + timeout_seconds
    try:
        while True:
            found = client.xinfo_stream(stream)
            group = next(g for g in client.xinfo_groups(stream) if bytes(g["name"]) == GROUP.encode())
            if group["pending"] == 0 and group["last-delivered-id"] == found["last-generated-id"]:
                return f"{found['length'] - before:,} steps of live features pushed through Feast into Redis"
            if time.monotonic() > deadline:
                raise UnavailableError(f"the pusher still has {group['pending']} steps to write into the online store")
            time.sleep(0.1)
    except (redis.RedisError, StopIteration) as error:
        raise UnavailableError(f"no live features in the stream {stream}: {error!r}") from None
    finally:
        client.close()


class Trader:
    """The trader as a process of its own: no Ray driver, told everything by its command line."""

    def __init__(
        self,
        state: Path,
        workspace: Path,
        session: str,
        serving_url: str,
        environment: Mapping[str, str],
        folder: Path,
        steps_per_second: float = 0.0,
    ) -> None:
        self.summary_file = folder / "summary.json"
        self._ready_file = folder / "trader.json"
        self._log_file = state / "logs" / f"{TRADER}.log"
        self._command = [
            *python("-m", "tidegate.cli", "trade", "--broker", "practice", "--workspace", str(workspace)),
            *("--broker-ready-file", str(folder / "practice-broker.json"), "--serving-url", serving_url),
            *("--session", session, "--state", str(state)),
            *("--ready-file", str(self._ready_file), "--summary-file", str(self.summary_file)),
            *("--steps-per-second", str(steps_per_second)),
        ]
        self._environment = {**environment, "TIDEGATE_TRADING__PORT": "0"}
        self._workspace = workspace
        self._process: GuardedProcess | None = None
        self._begin = 0
        self._url = ""

    @contextmanager
    def running(self) -> Generator[Self]:
        """Start the trader; it is asked to end when the block does."""
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        self._begin = self._log_file.stat().st_size if self._log_file.exists() else 0
        self._process = GuardedProcess(
            self._command,
            environment={**os.environ, **QUIET, **self._environment},
            directory=self._workspace,
            log_file=self._log_file,
            grace_seconds=10.0,
        )
        with self._process.start():
            yield self

    def status(self) -> dict[str, Any]:
        """Return what the trader says of itself; empty while it does not answer."""
        self._url = self._url or str((read_ready_file(self._ready_file) or {}).get("status_url", ""))
        if not self._url:
            return {}
        try:
            status, answer = request("GET", f"{self._url}/status")
        except OSError:
            return {}
        return answer if status == 200 and isinstance(answer, dict) else {}

    def require_running(self) -> None:
        """Do nothing while the trader runs.

        Raises:
            UnavailableError: it has ended; the message carries its last word.
        """
        if self._process is None or self._process.poll() is not None:
            raise self._ended()

    def run(self, on_status: Callable[[dict[str, Any]], None], timeout_seconds: float = 1800.0) -> dict[str, Any]:
        """Trade until the market's data end; return the session's summary.

        Raises:
            UnavailableError: the trader failed or took too long; the message carries its last word.
        """
        deadline = time.monotonic() + timeout_seconds
        with self.running():
            process = self._process
            assert process is not None
            while (code := process.poll()) is None:
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"the trader did not end within {timeout_seconds:.0f} s; see {self._log_file}"
                    )
                if answer := self.status():
                    on_status(answer)
                time.sleep(0.4)
        if code != 0 or not self.summary_file.exists():
            raise self._ended()
        return read_json(self.summary_file)

    def _ended(self) -> UnavailableError:
        code = self._process.poll() if self._process is not None else None
        return UnavailableError(
            f"the trader ended with code {code}: {last_line(self._log_file, self._begin)}; see {self._log_file}"
        )
