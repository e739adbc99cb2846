"""One HTTP stream kept alive by a thread: read lines, watch for silence, reconnect, stop at once when told to.

The library's own generator is not used for the lines: it reads in pieces of 60 bytes, dies on one malformed line, and
``terminate`` works only while items arrive. The request itself is the library's: its endpoint, hosts and session.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec
import requests
from urllib3.exceptions import HTTPError

from core.errors import ConfigurationError, IntegrityError, TidegateError, UnavailableError
from core.logging import get_logger
from trading.brokers.oanda.environment import await_connection, stream_host
from trading.brokers.oanda.pacing import backoff_seconds
from trading.brokers.oanda.session import new_api

_LONGEST_LINE = 1 << 20
_STABLE_SECONDS = 10.0  # a connection that lived this long was a good one: the next wait starts small again
_LOGGED_GARBAGE = 3  # malformed lines logged one by one per connection; all are counted


class StreamEndpoint(Protocol):
    """A streaming request class of the library."""

    @property
    def params(self) -> dict[str, Any] | None: ...


class StreamHealth(msgspec.Struct):
    """What a stream has been through; read by health checks and tests."""

    connected: bool = False
    connections: int = 0
    malformed_lines: int = 0
    last_line_monotonic: float = 0.0
    last_problem: str = ""
    forbidden: str = ""  # why the broker refuses to open it; empty where it does not


class LineStream:
    """A reconnecting stream in a thread of its own.

    Args:
        name: for logs and the thread.
        environment, token: where and who.
        endpoint: the library's request.
        timeout_seconds: silence after which the connection counts as lost; above the broker's heartbeat of 5 s.
        opened: called in the thread after each connect, before any line; may raise ``TidegateError`` to reconnect.
        received: called in the thread with the lines of one read, in order; returns how many were malformed.
        ended: called in the thread once, with the error that makes further tries pointless.
    """

    def __init__(
        self,
        name: str,
        environment: str,
        token: str,
        endpoint: StreamEndpoint,
        timeout_seconds: float,
        opened: Callable[[], None],
        received: Callable[[list[bytes]], int],
        ended: Callable[[TidegateError], None],
    ) -> None:
        self.health = StreamHealth()
        self._name = name
        self._environment = environment
        self._token = token
        self._endpoint = endpoint
        self._timeout = timeout_seconds
        self._opened = opened
        self._received = received
        self._ended = ended
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._response: requests.Response | None = None
        self._log = get_logger("trading").bind(stream=name)
        self._thread = threading.Thread(target=self._run, name=f"oanda-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the thread to end and wake it from a blocking read. Does not wait."""
        self._stop.set()
        with self._lock:
            if self._response is not None:
                try:
                    self._response.raw.shutdown()
                except (OSError, ValueError, RuntimeError):
                    self._response = None  # already closed by the other side

    def join(self, timeout_seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        attempt = 0
        ever_connected = False
        while not self._stop.is_set():
            started = time.monotonic()
            before = self.health.connections
            try:
                problem = self._once()
            except Exception as error:  # a mistake in this program: readers must not wait for ever
                place = traceback.extract_tb(error.__traceback__)[-1]  # no traceback: its locals hold the token
                where = f"{place.filename}:{place.lineno}"
                self._log.error("stream thread failed", kind=type(error).__name__, at=where)
                self._ended(IntegrityError(f"{self._name} stream: it failed ({type(error).__name__}); restart"))
                return
            finally:
                self.health.connected = False
            if self._stop.is_set():
                return
            ever_connected = ever_connected or self.health.connections > before
            if isinstance(problem, ConfigurationError) and not ever_connected:
                self._ended(problem)
                return
            if self.health.connections > before and time.monotonic() - started >= _STABLE_SECONDS:
                attempt = 0
            pause = backoff_seconds(attempt)
            attempt += 1
            self.health.last_problem = problem.message
            self.health.forbidden = problem.message if isinstance(problem, ConfigurationError) else ""
            self._log.warning("stream lost, reconnecting", problem=problem.message, pause_seconds=pause)
            self._stop.wait(pause)

    def _once(self) -> TidegateError:
        """Connect and read until the connection is lost; return why."""
        await_connection(self._environment)
        api = new_api(self._environment, self._token, self._timeout)
        try:
            with api.client.get(
                f"{stream_host(self._environment)}/{self._endpoint}",
                params=self._endpoint.params,
                headers={"Accept-Encoding": "identity"},  # a compressor holds ticks back
                stream=True,
                **api.request_params,
            ) as response:
                refusal = _refusal(response.status_code, self._name)
                if refusal is not None:
                    return refusal
                with self._lock:
                    self._response = response
                if self._stop.is_set():
                    return UnavailableError(f"{self._name} stream: stopped")
                self._opened()
                self.health.connections += 1
                self.health.connected = True
                self.health.forbidden = ""
                self.health.last_line_monotonic = time.monotonic()
                self._read(response)
                return UnavailableError(f"{self._name} stream: the broker ended it")
        except TidegateError as error:
            return error
        except (requests.RequestException, HTTPError, OSError) as error:
            return UnavailableError(f"{self._name} stream: connection lost ({type(error).__name__})")
        finally:
            with self._lock:
                self._response = None
            api.close()

    def _read(self, response: requests.Response) -> None:
        garbage = 0
        for lines in _batches(response):
            if self._stop.is_set():
                return
            if lines:
                malformed = self._received(lines)
                if malformed:
                    garbage += malformed
                    self.health.malformed_lines += malformed
                    if garbage <= _LOGGED_GARBAGE:
                        self._log.error("malformed stream lines skipped", count=malformed)
                if malformed < len(lines):
                    self.health.last_line_monotonic = time.monotonic()
                    continue
            if time.monotonic() - self.health.last_line_monotonic > self._timeout:
                raise UnavailableError(f"{self._name} stream: no readable line for {self._timeout:g} s")


def _batches(response: requests.Response) -> Iterator[list[bytes]]:
    """Yield the complete lines of each read as soon as they are there; blank lines are keep-alives and left out."""
    raw = response.raw
    pending = b""
    for piece in raw.read_chunked(decode_content=True) if raw.chunked else iter(lambda: raw.read1(65_536), b""):
        *lines, pending = (pending + piece).split(b"\n")
        if len(pending) > _LONGEST_LINE:
            raise UnavailableError("stream: a line without end; reconnecting")
        yield [line for line in lines if line.strip()]


def _refusal(status: int, name: str) -> TidegateError | None:
    if status == 200:
        return None
    if status == 401:
        return ConfigurationError(f"{name} stream: the broker refuses the token (401): check TIDEGATE_OANDA__TOKEN")
    if status in (403, 404):
        return ConfigurationError(
            f"{name} stream: the broker forbids it ({status}): check TIDEGATE_OANDA__ACCOUNT_ID and the token's rights"
        )
    if status == 400:
        return ConfigurationError(f"{name} stream: the broker refuses the request (400): check the instruments")
    return UnavailableError(f"{name} stream: the broker answered HTTP {status}")
