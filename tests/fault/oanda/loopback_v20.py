"""A raw TCP server that speaks just enough HTTP to misbehave on purpose: cut, silent, slow, garbled, refusing."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from core.settings import OandaSettings

ACCOUNT = "101-004-7654321-001"
TOKEN = "loopback-token-0123456789"
TIME = "2024-03-01T10:00:00.000000000Z"


@dataclass
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Wire:
    """One accepted connection, for actions to write on."""

    socket: socket.socket
    server: "LoopbackV20"

    def reply(self, status: int, body: object, headers: str = "") -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n{headers}\r\n"
        )
        self.socket.sendall(head.encode() + payload)

    def start_stream(self) -> None:
        self.socket.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.socket.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def line(self, message: object) -> None:
        self.chunk(json.dumps(message) + "\n")

    def hold(self) -> None:
        """Say nothing more until the server is closed."""
        self.server.closing.wait()

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


Action = Callable[[Wire, Request], None]


@dataclass
class LoopbackV20:
    """Actions by ``METHOD path-end``, taken in turn; the last of a list repeats."""

    actions: dict[str, list[Action]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = []
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def on(self, route: str, *actions: Action) -> None:
        self.actions[route] = list(actions)

    def count(self, route: str) -> int:
        method, _, end = route.partition(" ")
        with self.lock:
            return sum(request.method == method and request.path.endswith(end) for request in self.requests)

    def settings(self, **changes: Any) -> OandaSettings:
        values: dict[str, Any] = {
            "rest_url": f"http://127.0.0.1:{self.port}",
            "stream_url": f"http://127.0.0.1:{self.port}",
            "token": SecretStr(TOKEN),
            "account_id": SecretStr(ACCOUNT),
            "request_timeout_seconds": 0.5,
            "heartbeat_timeout_seconds": 5.1,
        }
        return OandaSettings(**(values | changes))

    def close(self) -> None:
        self.closing.set()
        self.listener.close()
        for connection in self.sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        wire = Wire(connection, self)
        with contextlib.suppress(OSError, ValueError):
            while True:
                start = reader.readline().decode()
                if not start:
                    return
                method, target, _ = start.split(" ")
                headers: dict[str, str] = {}
                while (line := reader.readline().decode().strip()) != "":
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", 0)))
                path, _, query = target.partition("?")
                request = Request(method, path, query, headers, json.loads(body) if body else {})
                with self.lock:
                    self.requests.append(request)
                    action = self._action(method, path)
                action(wire, request)

    def _action(self, method: str, path: str) -> Action:
        for route, actions in self.actions.items():
            wanted, _, end = route.partition(" ")
            if wanted == method and path.endswith(end):
                return actions.pop(0) if len(actions) > 1 else actions[0]
        return answer({"errorMessage": "no such route"}, 404)


def answer(body: object, status: int = 200, headers: str = "") -> Action:
    return lambda wire, request: wire.reply(status, body, headers)


def late(seconds: float, action: Action) -> Action:
    def act(wire: Wire, request: Request) -> None:
        time.sleep(seconds)
        action(wire, request)

    return act


def hang_up(wire: Wire, request: Request) -> None:
    wire.hang_up()


def account(currency: str = "USD", last: int = 10) -> dict[str, Any]:
    return {
        "account": {
            "currency": currency,
            "balance": "100000.0000",
            "NAV": "100000.0000",
            "unrealizedPL": "0.0000",
            "marginUsed": "0.0000",
            "marginAvailable": "100000.0000",
            "lastTransactionID": str(last),
            "hedgingEnabled": False,
            "openPositionCount": 0,
            "pendingOrderCount": 0,
        },
        "lastTransactionID": str(last),
    }


def instruments() -> dict[str, Any]:
    entry = {
        "name": "EUR_USD",
        "type": "CURRENCY",
        "pipLocation": -4,
        "displayPrecision": 5,
        "tradeUnitsPrecision": 0,
        "minimumTradeSize": "1",
        "maximumOrderUnits": "100000000",
        "marginRate": "0.02",
    }
    return {"instruments": [entry], "lastTransactionID": "10"}


def order_transaction(number: int, client_id: str) -> dict[str, Any]:
    return {
        "id": str(number),
        "time": TIME,
        "type": "MARKET_ORDER",
        "instrument": "EUR_USD",
        "units": "100",
        "timeInForce": "FOK",
        "clientExtensions": {"id": client_id},
    }


def fill_transaction(number: int, client_id: str) -> dict[str, Any]:
    return {
        "id": str(number),
        "time": TIME,
        "type": "ORDER_FILL",
        "orderID": str(number - 1),
        "clientOrderID": client_id,
        "instrument": "EUR_USD",
        "units": "100",
        "price": "1.10000",
        "pl": "0.0000",
        "financing": "0.0000",
        "accountBalance": "100000.0000",
        "reason": "MARKET_ORDER",
        "tradeOpened": {"tradeID": str(number), "units": "100"},
    }


def filled_reply(client_id: str, number: int = 11) -> dict[str, Any]:
    return {
        "orderCreateTransaction": order_transaction(number, client_id),
        "orderFillTransaction": fill_transaction(number + 1, client_id),
        "relatedTransactionIDs": [str(number), str(number + 1)],
        "lastTransactionID": str(number + 1),
    }


def price(bid: str, second: int, instrument: str = "EUR_USD") -> dict[str, Any]:
    return {
        "type": "PRICE",
        "time": f"2024-03-01T10:00:{second:02d}.000000000Z",
        "instrument": instrument,
        "bids": [{"price": bid, "liquidity": 1000000}],
        "asks": [{"price": f"{float(bid) + 0.0001:.5f}", "liquidity": 1000000}],
        "tradeable": True,
    }


def heartbeat(second: int, last: int | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "HEARTBEAT", "time": f"2024-03-01T10:00:{second:02d}.000000000Z"}
    return message if last is None else message | {"lastTransactionID": str(last)}


def ready_server() -> LoopbackV20:
    """Return a server on which ``connect`` succeeds."""
    server = LoopbackV20()
    server.on("GET /summary", answer(account()))
    server.on("GET /instruments", answer(instruments()))
    server.on("GET /openTrades", answer({"trades": [], "lastTransactionID": "10"}))
    return server
