"""Every fault over real HTTP: what strikes, what the client sees of it, and what is true afterwards."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from practice_fixtures import PracticeProcess, practice_broker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeProcess]:
    with practice_broker(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(server: PracticeProcess) -> Iterator[None]:
    yield
    server.admin("faults", method="DELETE")
    server.admin("halt", {"halted": False})
    server.admin("liquidity", {"units": None})


@contextmanager
def stream(server: PracticeProcess, path: str) -> Iterator[Any]:
    request = Request(server.account_url + path)
    request.add_header("Authorization", f"Bearer {server.token}")
    with urlopen(request, timeout=10) as reply:
        yield reply


def last(server: PracticeProcess) -> int:
    return int(server.get("/summary")["lastTransactionID"])


def test_a_held_reply_is_overtaken(server: PracticeProcess) -> None:
    server.admin("faults", {"kind": "reorder_replies", "method": "POST", "path": "/orders", "hold": 2, "seconds": 20})
    order: list[tuple[str, int]] = []

    def first() -> None:
        _, reply = server.order(10, clientExtensions={"id": "held"})
        order.append(("first", int(reply["lastTransactionID"])))

    thread = threading.Thread(target=first)
    thread.start()
    while server.call("GET", "/orders/@held")[0] != 200:  # it is done long before its reply comes: these overtake it
        time.sleep(0.005)
    if thread.is_alive():
        _, reply = server.order(20)
        order.append(("second", int(reply["lastTransactionID"])))
    thread.join(20)
    assert not thread.is_alive() and ("first" in dict(order))
    assert server.admin("faults", method="GET")["struck"]["reorder_replies"] == 1
    if "second" in dict(order):
        assert dict(order)["first"] < dict(order)["second"]


def test_a_reply_nobody_overtakes_comes_all_the_same(server: PracticeProcess) -> None:
    server.admin("faults", {"kind": "reorder_replies", "seconds": 0.05})
    assert server.call("GET", "/summary")[0] == 200


def test_a_delayed_request_arrives_after_a_later_one(server: PracticeProcess) -> None:
    server.admin("faults", {"kind": "delay_request", "method": "POST", "path": "/orders", "seconds": 0.3})
    thread = threading.Thread(target=server.order, args=(10,), kwargs={"clientExtensions": {"id": "late"}})
    thread.start()
    while server.admin("faults", method="GET")["faults"]:
        time.sleep(0.005)
    assert server.call("GET", "/orders/@late")[0] == 404  # who asks now is told that it is not there
    thread.join(10)
    assert server.get("/orders/@late")["order"]["state"] == "FILLED"


def test_too_many_requests_says_how_long_to_wait(server: PracticeProcess) -> None:
    server.admin("faults", {"kind": "rate_limit", "seconds": 3, "count": 2})
    before = server.call("GET", "/summary")
    assert (before[0], before[2]["Retry-After"]) == (429, "3") and before[2]["RequestID"]
    status, reply, headers = server.call("POST", "/orders", {"order": {}})
    assert (status, headers["Retry-After"]) == (429, "3") and reply["errorMessage"]


def test_a_gap_in_a_stream_swallows_lines_and_keeps_it_open(server: PracticeProcess) -> None:
    with stream(server, "/transactions/stream") as lines:
        assert json.loads(lines.readline())["type"] == "HEARTBEAT"
        server.admin("faults", {"kind": "gap_stream", "stream": "transactions", "count": 2})
        _, lost = server.order(10)
        _, seen = server.order(10)
        got = [int(json.loads(lines.readline())["id"]) for _ in range(2)]
    assert got == [int(number) for number in seen["relatedTransactionIDs"]]
    assert got[0] == int(lost["lastTransactionID"]) + 1  # the ids tell what is missing


def test_half_a_line_and_the_same_line_twice(server: PracticeProcess) -> None:
    with stream(server, "/transactions/stream") as lines:
        lines.readline()
        server.admin("faults", {"kind": "malformed_line", "stream": "transactions"})
        server.order(10)
        with pytest.raises(json.JSONDecodeError):
            json.loads(lines.readline())
        assert json.loads(lines.readline())["type"] == "ORDER_FILL"
        server.admin("faults", {"kind": "duplicate_event", "count": 1})
        server.order(10)
        first, second, third = (json.loads(lines.readline()) for _ in range(3))
    assert first == second and third["type"] == "ORDER_FILL"


def test_a_stream_breaks_by_chance(server: PracticeProcess) -> None:
    with stream(server, "/pricing/stream?instruments=EUR_USD") as lines:
        json.loads(lines.readline())
        server.admin("faults", {"kind": "drop_stream", "probability": 1.0, "count": 1, "stream": "pricing"})
        server.admin("clock/advance")
        while lines.readline():  # a stream that merely fell silent would time out here
            pass
    assert server.admin("faults", method="GET")["struck"]["drop_stream"] == 1


def test_a_stream_that_cannot_be_opened(server: PracticeProcess) -> None:
    server.admin("faults", {"kind": "error", "status": 503, "path": "/stream", "count": 1})
    with pytest.raises(HTTPError) as refused, stream(server, "/transactions/stream"):
        pass
    assert refused.value.code == 503


def test_an_instrument_is_halted_for_a_while_of_market_time(server: PracticeProcess) -> None:
    server.admin("faults", {"kind": "halt", "instrument": "EUR_USD", "seconds": 60})
    assert server.order(10)[1]["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
    assert "orderFillTransaction" in server.order(10, "USD_JPY")[1]
    server.admin("clock/advance")
    server.admin("clock/advance")
    assert "orderFillTransaction" in server.order(10)[1]
    status, reply, _ = server.call("POST", f"{server.rest_url}/admin/faults", {"kind": "halt", "instrument": "XXX_YYY"})
    assert status == 400 and "instrument" in reply["errorMessage"]


def test_market_and_resting_orders_are_refused_by_chance_and_on_demand(server: PracticeProcess) -> None:
    server.admin("faults", {"kind": "reject", "probability": 1.0, "count": 1, "reason": "INSUFFICIENT_MARGIN"})
    assert server.order(10)[1]["orderCancelTransaction"]["reason"] == "INSUFFICIENT_MARGIN"
    server.admin("faults", {"kind": "reject", "reason": "MARKET_HALTED"})
    limit = {"type": "LIMIT", "price": "0.50000", "timeInForce": "GTC"}
    assert server.order(10, **limit)[1]["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
    assert "orderFillTransaction" in server.order(10)[1]


def test_bounded_liquidity_fills_in_parts(server: PracticeProcess) -> None:
    server.admin("liquidity", {"units": "1000"})
    server.admin("clock/advance")
    _, taken = server.order(1500, timeInForce="IOC")
    assert taken["orderFillTransaction"]["units"] == "1000"
    (price,) = server.get("/pricing?instruments=EUR_USD")["prices"]
    assert price["asks"][0]["liquidity"] == 1000
    _, part = server.order(1500, type="LIMIT", price="9.00000", timeInForce="GTC", clientExtensions={"id": "part"})
    assert "orderCancelTransaction" not in part
    while server.get("/orders/@part")["order"]["state"] == "PENDING":
        server.admin("clock/advance")
    order = server.get("/orders/@part")["order"]
    assert (order["state"], order["units"], order["filledUnits"]) == ("FILLED", "1500", "1500")
    log = server.get("/transactions/sinceid?id=0")["transactions"]
    fills = [item for item in log if item["type"] == "ORDER_FILL" and item["orderID"] == order["id"]]
    assert [(item["units"], item["requestedUnits"]) for item in fills] == [("1000", "1500"), ("500", "500")]


def test_all_faults_at_once_leave_the_books_whole(server: PracticeProcess) -> None:
    for number, kind in enumerate(
        ("lose_request", "lose_reply", "delay_reply", "duplicate_request", "error", "rate_limit", "reject", "halt")
    ):
        body = {"kind": kind, "probability": 0.1, "seed": number, "seconds": 0.001}
        server.admin("faults", body | ({"method": "POST"} if kind == "duplicate_request" else {}))
    for number in range(60):
        if number % 10 == 0:
            server.admin("clock/advance")
        try:
            server.order(10 if number % 3 else -20, clientExtensions={"id": f"all-{number}"})
        except OSError:
            continue
    struck = server.admin("faults", method="DELETE")["struck"]
    assert {"lose_request", "lose_reply", "error"} <= struck.keys()
    log = server.get("/transactions/sinceid?id=0")["transactions"]
    assert [int(item["id"]) for item in log] == list(range(1, len(log) + 1))
    made = [
        item["clientExtensions"]["id"] for item in log if item["type"] == "MARKET_ORDER" and "clientExtensions" in item
    ]
    assert len(made) == len(set(made))
