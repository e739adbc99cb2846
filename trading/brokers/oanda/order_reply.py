"""A reply as the event loop takes it in while it arrives: no thread has to be woken for it, nor to hand it back.

Only the plainest form is understood here: HTTP/1.1 with a length said ahead. Everything else is left to ``http.client``
in a thread, with what was read so far.
"""

import asyncio
import http.client
import io
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

_PIECE = 65_536
_LARGEST = 1 << 20  # of a reply the event loop takes in; a longer one would keep it from everything else
_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: [^\r\n]*)?")
_WITHOUT_BODY = (204, 304)
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Arrived(NamedTuple):
    """A reply that is all there. ``last``: the connection is of no use after it."""

    status: int
    body: bytes
    retry_after: str
    last: bool


class ReplyReader:
    """Reads one reply from a socket that has a time-out of its own, which is kept.

    Args:
        connection: a request was written to it. Nobody else reads it until ``ended`` was called.
        timeout_seconds: by when the reply must be complete.
        ended: called once, in the event loop: with the reply, with the error that lost it (``TimeoutError``: it was not
            complete in time), or with the bytes so far where somebody else is to read on.
    """

    def __init__(
        self, connection: socket.socket, timeout_seconds: float, ended: Callable[[Arrived | OSError | bytes], None]
    ) -> None:
        self._connection = connection
        self._ended = ended
        self._content = b""
        self._loop = asyncio.get_running_loop()
        self._limit = self._loop.call_later(timeout_seconds, self._end, TimeoutError())
        self._loop.add_reader(connection.fileno(), self._readable)

    def hand_over(self) -> None:
        """Stop reading: ``ended`` gets the bytes so far."""
        self._end(self._content)

    def _end(self, outcome: Arrived | OSError | bytes) -> None:
        self._limit.cancel()
        self._loop.remove_reader(self._connection.fileno())
        self._ended(outcome)

    def _readable(self) -> None:
        outcome = self._take_in()
        if outcome is not None:
            self._end(outcome)

    def _take_in(self) -> Arrived | OSError | bytes | None:
        timeout = self._connection.gettimeout()
        self._connection.settimeout(0.0)
        try:
            while piece := self._connection.recv(_PIECE):
                self._content += piece
                outcome = arrived(self._content)
                if outcome is not None:
                    return outcome
        except _WAIT:
            return None
        except OSError as error:
            return error
        finally:
            self._connection.settimeout(timeout)
        return http.client.RemoteDisconnected("the broker ended the connection")


def arrived(content: bytes) -> Arrived | bytes | None:
    """Return the reply ``content`` is, ``content`` itself if it takes a thread to read, None while more is to come."""
    end = _HEAD_END.search(content)
    if end is None:
        return None if len(content) < _PIECE else content
    first, *lines = content[: end.start()].rstrip(b"\r").split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    found, length = _STATUS_LINE.fullmatch(first), fields.get(b"content-length", b"")
    plain = len(fields) == len(lines) and b"transfer-encoding" not in fields and length.isdigit()
    plain = plain and not any(b"\n" in line for line in lines)
    if found is None or not plain or (status := int(found[1])) in _WITHOUT_BODY or len(length) > 7:
        return content
    total = end.end() + int(length)
    if total > _LARGEST:
        return content
    if len(content) < total:
        return None
    last = len(content) > total or b"close" in fields.get(b"connection", b"").lower()
    retry_after = fields.get(b"retry-after", b"").decode("latin-1")
    return Arrived(status, content[end.end() : total], retry_after, last)


class Begun:
    """What ``http.client`` needs of a socket of which ``content`` was read already."""

    def __init__(self, content: bytes, connection: socket.socket) -> None:
        self._rest = _Rest(content, connection)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the reply from its beginning."""
        return io.BufferedReader(self._rest)


class _Rest(io.RawIOBase):
    def __init__(self, content: bytes, connection: socket.socket) -> None:
        self._content = memoryview(content)
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._content:
            return self._connection.recv_into(buffer)
        count = min(len(buffer), len(self._content))
        buffer[:count] = self._content[:count]
        self._content = self._content[count:]
        return count
