"""The other processes of the order-path benchmark: practice broker, inference service and a bare HTTP echo."""

import contextlib
import http.server
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.embedded.guarded import GuardedProcess
from core.errors import UnavailableError
from core.files import read_json
from core.settings import OandaSettings

_BROKER_SECONDS, _SERVING_SECONDS = 60.0, 150.0


@contextlib.contextmanager
def practice_broker(folder: Path, instrument: str, start: str, speed: float) -> Generator[OandaSettings]:
    """Run a practice broker with simulated prices in a process of its own.

    Args:
        folder: for its log and ready file.
        instrument: the one it quotes, every three seconds of its market.
        start: market time to begin with.
        speed: market seconds in one of the machine's.

    Raises:
        UnavailableError: it does not start.
    """
    ready = folder / "practice.json"
    command = [sys.executable, "-m", "tidegate.cli", "practice-broker", "--feed", "simulation", "--clock",
               "accelerated", "--speed", f"{speed:g}", "--from", start, "--seed", "7", "--ready-file", str(ready),
               "--instruments", instrument]  # fmt: skip
    with GuardedProcess(command, log_file=folder / "practice.log") as process:
        _await(ready, process, folder / "practice.log", "practice broker", _BROKER_SECONDS)
        found = read_json(ready)
        yield OandaSettings(
            environment="practice",
            rest_url=found["rest_url"],
            stream_url=found["stream_url"],
            token=SecretStr(found["token"]),
            account_id=SecretStr(found["account_id"]),
            requests_per_second=1000.0,
        )


@contextlib.contextmanager
def inference_service(state: Path) -> Generator[str]:
    """Run Ray Serve with HAProxy over the models of ``<state>/serving`` and yield its address.

    Raises:
        UnavailableError: it does not start.
    """
    ready = state / "serving-ready.json"
    environment = os.environ | {"TIDEGATE_STATE_DIRECTORY": str(state), "TIDEGATE_SERVING__PORT": "0"}
    command = [sys.executable, "-m", "serving.server", "--ready-file", str(ready)]
    with GuardedProcess(command, environment=environment, log_file=state / "serving.log") as process:
        _await(ready, process, state / "serving.log", "inference service", _SERVING_SECONDS)
        yield str(read_json(ready)["url"])


def _await(ready: Path, process: GuardedProcess, log: Path, what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready.exists():
        if not process.running or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            raise UnavailableError(f"the {what} did not start: {lines[-1] if lines else 'no output'}")
        time.sleep(0.02)


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        """Answer with what came."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"HTTP/1.1 201 Created\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        self.wfile.write(head + content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _serve_echo(pipe: Any) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Echo)
    pipe.send(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def loopback_echo() -> Generator[int]:
    """Run a bare HTTP echo in a process of its own and yield its port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve_echo, args=(there,), daemon=True)
    process.start()
    there.close()  # the child's end: its death ends the waiting below
    try:
        yield int(here.recv())
    except EOFError:
        raise UnavailableError("the bare HTTP echo did not start") from None
    finally:
        process.terminate()
        process.join()
