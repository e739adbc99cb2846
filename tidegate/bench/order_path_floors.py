"""What the same bytes cost without us, measured between two decisions of the same run."""

import http.client
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from serving.codec import BINARY

ENTRY_BYTES = 2048  # about what the journal holds of one decision when its order is synchronised
ORDER_BYTES = 600  # of an order's request body with its bracket
_ROOM = 64 * 1024 * 1024


class Floors:
    """Raw disk, bare echo on loopback, bare echo through the ingress of the inference service.

    The raw write goes into a part of a file that was filled and synchronised before, as the journal's does: without
    that the file system would also commit the new length.
    """

    def __init__(self, folder: Path, echo_port: int, serving_url: str, prediction_bytes: int) -> None:
        self.samples: dict[str, list[int]] = {"raw_write_and_fdatasync": [], "loopback_echo": []}
        if serving_url:
            self.samples["serve_echo"] = []
        self._descriptor = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        zeros = bytes(1024 * 1024)
        for _ in range(_ROOM // len(zeros)):
            os.write(self._descriptor, zeros)
        os.fsync(self._descriptor)
        self._position = 0
        self._content = os.urandom(ENTRY_BYTES)
        self._order = os.urandom(ORDER_BYTES // 2).hex().encode()
        self._question = os.urandom(prediction_bytes)
        self._echo = http.client.HTTPConnection("127.0.0.1", echo_port)
        self._url = f"{serving_url}/v1/echo" if serving_url else ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._echo.connect()
        self._echo.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = {"Content-Type": BINARY, "x-request-disconnect-disabled": "?1"}
        self._session = aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(keepalive_timeout=3600))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        self._echo.close()
        os.close(self._descriptor)

    async def take(self) -> None:
        """Take one sample of each."""
        began = time.perf_counter_ns()
        os.pwrite(self._descriptor, self._content, self._position)
        os.fdatasync(self._descriptor)
        written = time.perf_counter_ns()
        self._position = (self._position + ENTRY_BYTES) % (_ROOM - ENTRY_BYTES)
        self._echo.request("POST", "/", self._order)
        self._echo.getresponse().read()
        answered = time.perf_counter_ns()
        self.samples["raw_write_and_fdatasync"].append(written - began)
        self.samples["loopback_echo"].append(answered - written)
        if self._url and self._session is not None:
            asked = time.perf_counter_ns()
            async with self._session.post(self._url, data=self._question) as reply:
                await reply.read()
            self.samples["serve_echo"].append(time.perf_counter_ns() - asked)
