"""A practice broker in a process of its own, for tests of any room: ``with practice_broker(...) as server``."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

_PATIENCE = 30.0


@dataclass
class PracticeProcess:
    """A running server and what its ready file says."""

    process: subprocess.Popen[bytes]
    rest_url: str
    stream_url: str
    account_id: str
    token: str
    ready_file: Path

    @property
    def account_url(self) -> str:
        return f"{self.rest_url}/v3/accounts/{self.account_id}"

    def call(
        self, method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Send one request; returns status, body and headers."""
        request = Request(url if url.startswith("http") else self.account_url + url, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urlopen(request, timeout=_PATIENCE) as reply:
                return reply.status, json.loads(reply.read()), reply.headers
        except OSError as error:
            if not hasattr(error, "code"):
                raise
            return error.code, json.loads(error.read()), error.headers  # type: ignore[attr-defined]

    def get(self, path: str) -> dict[str, Any]:
        status, body, _ = self.call("GET", path)
        assert status == 200, body
        return body

    def admin(self, path: str, body: Any = None, method: str = "POST") -> dict[str, Any]:
        status, reply, _ = self.call(method, f"{self.rest_url}/admin/{path}", {} if body is None else body)
        assert status == 200, reply
        return reply

    def order(self, units: int, instrument: str = "EUR_USD", **fields: Any) -> tuple[int, dict[str, Any]]:
        order = {"type": "MARKET", "instrument": instrument, "units": str(units), **fields}
        status, body, _ = self.call("POST", "/orders", {"order": order})
        return status, body

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(_PATIENCE)


def start_practice_broker(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> PracticeProcess:
    """Start a server and wait until it answers. Without arguments: a simulation in lockstep, in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    chosen = arguments or ("--clock", "lockstep", "--from", "2024-03-05T10:00:00Z", "--seed", "1")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "trading.practice.server", "--ready-file", str(ready), *chosen],
        cwd=folder,
        env=clean | dict(environment or {}),
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + _PATIENCE
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            _, errors = process.communicate()
            raise RuntimeError(f"the practice broker did not start: {errors.decode()[-2000:]}")
        time.sleep(0.01)
    told = json.loads(ready.read_text())
    return PracticeProcess(process, told["rest_url"], told["stream_url"], told["account_id"], told["token"], ready)


def stop_practice_broker(server: PracticeProcess) -> int:
    """Stop it with SIGTERM; returns the exit code."""
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    server.process.wait(_PATIENCE)
    return server.process.returncode


@contextmanager
def practice_broker(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[PracticeProcess]:
    """Run a server for the length of a block."""
    server = start_practice_broker(folder, *arguments, environment=environment)
    try:
        yield server
    finally:
        stop_practice_broker(server)
