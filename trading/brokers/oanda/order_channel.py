"""The one connection for requests that can move money: the bytes leave before ``trade`` waits for anything.

The client library needs 0.3 ms from call to socket, and handing the call to its thread 0.1 ms more. Here the event
loop writes the request itself into an open idle connection (a few hundred bytes into an empty socket buffer: it does
not block) and takes in the reply while it arrives: handing it over from a thread costs 0.1 ms and more. Where that is
not possible (no connection, another order under way, request limit reached) the whole exchange happens in the order
thread, which works off one after the other. It also reads on where a reply is of an unusual form, and where the next
order or the end of the session needs the connection. Path, method and body of every request are the library's.

Head and body leave in one write: every call that may wait gives the interpreter to another thread, which keeps it for
as long as a switch interval.
"""

import asyncio
import contextlib
import http.client
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, cast

import orjson

from core.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    RateLimitedError,
    TidegateError,
    UnavailableError,
)
from core.logging import get_logger
from trading.brokers.oanda.environment import await_connection, rest_host
from trading.brokers.oanda.order_destination import Destination
from trading.brokers.oanda.order_reply import Arrived, Begun, ReplyReader
from trading.brokers.oanda.pacing import CircuitBreaker, TokenBucket
from trading.brokers.oanda.replies import Reply, object_of, refusal, unreadable

_KEEP_ALIVE = (  # probe an idle peer, so that a firewall that forgot the connection is found out before an order
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)

_log = get_logger("trading")


class TradingEndpoint(Protocol):
    """A request class of the library; ``str`` of it is its path, ``data`` (where it has that) its body."""

    method: str


class OrderChannel:
    """Requests that can move money: each sent once, one after the other.

    Args:
        environment: name in the library's table of hosts.
        token: bearer token.
        timeout_seconds: by when a reply must be complete; past it the outcome is unknown.
        bucket: the request limit, shared with the readers.
        breaker: the circuit, shared with the readers.

    Attributes:
        written_ns: ``perf_counter_ns`` right after the last byte of the newest request was in the socket.
    """

    def __init__(
        self, environment: str, token: str, timeout_seconds: float, bucket: TokenBucket, breaker: CircuitBreaker
    ) -> None:
        self._environment = environment
        self._destination = Destination(rest_host(environment), token)
        self._timeout = timeout_seconds
        self._bucket = bucket
        self._breaker = breaker
        self.written_ns = 0
        self._connection: http.client.HTTPConnection | None = None
        self._poll = select.poll()
        self._thread = ThreadPoolExecutor(1, "oanda-orders")
        self._count = threading.Lock()
        self._under_way = 0  # exchanges begun and not finished; at 0 only the event loop touches the connection
        self._reading_since: float | None = None
        self._reader: ReplyReader | None = None  # of the reply the event loop is taking in
        self._closed = False

    def __repr__(self) -> str:
        return "OrderChannel()"

    @property
    def ready(self) -> bool:
        """Whether the next request can be written at once."""
        return self._under_way == 0 and self._idle()

    def encode(self, endpoint: TradingEndpoint) -> bytes:
        """Return the bytes of a request, head and body.

        Raises:
            BadInputError: its path cannot be written into a request.
        """
        data: object = getattr(endpoint, "data", None)
        return self._destination.request(endpoint.method, str(endpoint), orjson.dumps(data) if data else None)

    async def trade(self, endpoint: TradingEndpoint, what: str, content: bytes | None = None) -> Reply:
        """Send a request, once, and wait for its reply.

        Args:
            endpoint: the request.
            what: for messages.
            content: its bytes, where they were made before.

        Raises:
            BadInputError: it cannot be written.
            UnavailableError: it certainly did not reach the broker (no connection, 429, open circuit, closed).
            OutcomeUnknownError: it may have.
            ConfigurationError: token refused or account forbidden.
        """
        if self._closed:
            raise UnavailableError(f"{what}: the broker connection is closed: nothing was sent")
        self._breaker.check()
        request = content if content is not None else self.encode(endpoint)
        if self.ready and self._bucket.take_now():
            failure = self._write(request, what)
            if failure is not None:
                raise failure
            return await self._taken_in(endpoint.method, what)
        return await self._in_thread(lambda: self._exchange(endpoint.method, request, what))

    async def warm(self, path: str) -> None:
        """Open the connection with a harmless question, so that no order has to wait for it.

        Args:
            path: of a resource to ask for.

        Raises:
            UnavailableError, ConfigurationError: as for a request.
        """
        if self._closed or self.ready:
            return
        self._breaker.check()
        try:
            request = self._destination.request("GET", path, None)
            await self._in_thread(lambda: self._exchange("GET", request, "opening the order connection"))
        except OutcomeUnknownError as error:
            raise UnavailableError(f"{error.message}; try again") from None

    async def watch(self, path: str, every_seconds: float = 1.0) -> None:
        """Open the connection again whenever the other side closed it, and cut off a reply that takes too long.

        Runs until ``close``; real time, for the network does not follow a market clock.
        """
        while not self._closed:
            await asyncio.sleep(every_seconds)
            since = self._reading_since
            if since is not None and time.monotonic() - since > self._timeout:
                self._cut()  # drop by drop no single read times out
            elif self._under_way == 0 and not self.ready:
                try:
                    await self.warm(path)
                except TidegateError as error:
                    _log.warning("order connection not open", problem=error.message)

    def refuse_further(self) -> None:
        """From now on nothing is sent; what is under way goes on, in the order thread."""
        self._closed = True
        self._hand_over()

    def close(self) -> None:
        """Wait for what is under way, then close the connection. Blocking; to be called after ``refuse_further``."""
        self._closed = True
        self._thread.shutdown(wait=True)
        self._drop()

    # -- one exchange --------------------------------------------------------------------------------------------

    async def _taken_in(self, method: str, what: str) -> Reply:
        """Take in the reply to the request just written. It is read to its end even if the caller gives up."""
        connection = self._connection
        assert connection is not None and connection.sock is not None
        with self._count:
            self._under_way += 1
        self._reading_since = time.monotonic()
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def ended(outcome: Arrived | OSError | bytes) -> None:
            self._reader = None
            if isinstance(outcome, bytes):
                begun = outcome
                reading = self._thread.submit(self._counted, lambda: self._read(method, what, begun))
                asyncio.wrap_future(reading).add_done_callback(lambda done: _pass_on(done, waiting))
                return
            done: Future[Reply] = Future()
            try:
                done.set_result(self._counted(lambda: self._concluded(outcome, what)))
            except Exception as error:  # whatever it is, the caller waits for it
                done.set_exception(error)
            _pass_on(done, waiting)

        self._reader = ReplyReader(connection.sock, self._timeout, ended)
        return await waiting

    def _hand_over(self) -> None:
        """Let the order thread read on where the event loop is taking in a reply."""
        if self._reader is not None:
            self._reader.hand_over()

    async def _in_thread(self, work: Callable[[], Reply]) -> Reply:
        """Run ``work`` in the order thread. A reply that is not complete in time is cut off, which ends it."""
        self._hand_over()
        with self._count:
            self._under_way += 1
        try:
            future = self._thread.submit(self._counted, work)
        except RuntimeError:  # shut down in this moment; whether something was written, nobody knows
            with self._count:
                self._under_way -= 1
            raise OutcomeUnknownError("the broker connection was closed under an order; ask about it") from None
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_retrieve)
        # Shielded: a caller that gives up must not leave a reply unread on the connection.
        return await asyncio.shield(waiting)

    def _counted(self, work: Callable[[], Reply]) -> Reply:
        try:
            return work()
        finally:
            with self._count:
                self._under_way -= 1

    def _exchange(self, method: str, request: bytes, what: str) -> Reply:
        self._bucket.take(urgent=True)
        if not self._idle():
            self._connect(what)
        failure = self._write(request, what)
        if failure is not None:
            raise failure
        return self._read(method, what)

    def _connect(self, what: str) -> None:
        self._drop()
        connection = self._destination.connection()
        await_connection(self._environment, urgent=True)
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:  # before the first byte of the request
            connection.close()
            self._breaker.failed()
            kind = type(error).__name__
            raise UnavailableError(f"{what}: not sent: the broker cannot be reached ({kind}); try again") from None
        assert connection.sock is not None
        for option in _KEEP_ALIVE:
            connection.sock.setsockopt(*option)
        connection.sock.settimeout(self._timeout)
        self._poll.register(connection.sock, select.POLLIN)
        self._connection = connection

    def _write(self, request: bytes, what: str) -> TidegateError | None:
        """Write the request; return the error where that failed, its outcome then being unknown."""
        connection = self._connection
        assert connection is not None and connection.sock is not None
        try:
            _put(connection.sock, request)
        except OSError as error:
            self._drop()
            self._breaker.failed()
            return OutcomeUnknownError(f"{what}: the connection broke while sending ({type(error).__name__}); ask")
        self.written_ns = time.perf_counter_ns()
        return None

    def _read(self, method: str, what: str, begun: bytes = b"") -> Reply:
        """Read a reply of which ``begun`` is there. Blocking."""
        connection = self._connection
        assert connection is not None and connection.sock is not None
        if self._reading_since is None:
            self._reading_since = time.monotonic()
        arrived: Arrived | Exception
        try:
            source = cast(socket.socket, Begun(begun, connection.sock))  # only ``makefile`` is asked of it
            response = http.client.HTTPResponse(source, method=method)
            response.begin()
            content, retry_after = response.read(), response.headers.get("Retry-After", "")
            arrived = Arrived(response.status, content, retry_after, response.will_close)
        except (OSError, http.client.HTTPException, ValueError) as error:
            arrived = error
        return self._concluded(arrived, what)

    def _concluded(self, arrived: Arrived | Exception, what: str) -> Reply:
        """Say what the end of an exchange means: a reply, or the error that lost it."""
        self._reading_since = None
        if isinstance(arrived, Exception):
            self._drop()
            self._breaker.failed()
            raise OutcomeUnknownError(f"{what}: sent, but the reply was lost ({type(arrived).__name__}); ask")
        if arrived.last:
            self._drop()
        status = arrived.status
        if status >= 400:
            outcome = refusal(status, arrived.body, what, money=True, retry_after=arrived.retry_after)
        else:
            body = object_of(arrived.body) if 200 <= status < 300 else None
            outcome = unreadable(what, money=True) if body is None else Reply(status, body)
        if isinstance(outcome, Reply | RateLimitedError | ConfigurationError):
            self._breaker.succeeded()
        else:
            self._breaker.failed()
        if isinstance(outcome, Reply):
            return outcome
        raise outcome

    def _cut(self) -> None:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def _drop(self) -> None:
        if self._connection is not None:
            if self._connection.sock is not None:
                with contextlib.suppress(KeyError):  # not registered: the connection was never made
                    self._poll.unregister(self._connection.sock)
            self._connection.close()
            self._connection = None

    def _idle(self) -> bool:
        """Tell whether the connection is open with nothing to read: a readable one was closed by the other side."""
        return self._connection is not None and self._connection.sock is not None and not self._poll.poll(0)


def _put(connection: socket.socket, content: bytes) -> None:
    """Write all of ``content``. A socket with a time-out never blocks by itself: mostly one call takes it whole."""
    if not isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(BlockingIOError):
            content = content[os.write(connection.fileno(), content) :]
    if content:
        connection.sendall(content)


def _pass_on(done: "Future[Reply] | asyncio.Future[Reply]", waiting: "asyncio.Future[Reply]") -> None:
    """Give the outcome of an exchange to its caller, who may be gone."""
    error = done.exception()
    if waiting.done():
        return
    if error is not None:
        waiting.set_exception(error)
    else:
        waiting.set_result(done.result())


def _retrieve(future: "asyncio.Future[Reply]") -> None:
    """Look at the outcome of an exchange whose caller may be gone."""
    if not future.cancelled():
        future.exception()
