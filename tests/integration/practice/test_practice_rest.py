"""What the server answers to good and bad requests, its admin API, and its life as a process."""

import json
import socket
import stat
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from practice_fixtures import PracticeProcess, practice_broker, stop_practice_broker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeProcess]:
    with practice_broker(tmp_path_factory.mktemp("practice")) as running:
        yield running


def test_token_account_paths_and_methods(server: PracticeProcess) -> None:
    for token in ("", "Bearer wrong"):
        status, body, headers = server.call("GET", "/summary", headers={"Authorization": token})
        assert status == 401 and "Insufficient authorization" in body["errorMessage"] and headers["RequestID"]
    other = f"{server.rest_url}/v3/accounts/101-001-1-001/summary"
    assert server.call("GET", other)[0] == 403
    assert server.call("GET", f"{server.rest_url}/v3/accounts/nonsense/summary")[:2] == (
        400,
        {"errorMessage": "Invalid value specified for 'accountID'"},
    )
    assert server.call("GET", f"{server.rest_url}/v3/nothing")[0] == 404
    status, body, _ = server.call("DELETE", "/orders")
    assert status == 405 and body["errorMessage"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("POST", "/orders", {"order": {"type": "NO_SUCH"}}, 400, "order.type"),
        ("POST", "/orders", {"order": {"type": "MARKET", "units": "many"}}, 400, "order.units"),
        ("POST", "/orders", {}, 400, "Invalid value"),
        ("PUT", "/orders/999/cancel", {}, 404, "ORDER_DOESNT_EXIST"),
        ("PUT", "/orders/@none/cancel", {}, 404, "ORDER_DOESNT_EXIST"),
        ("GET", "/orders/999", None, 404, "does not exist"),
        ("GET", "/trades/999", None, 404, "does not exist"),
        ("PUT", "/trades/999/close", {}, 404, "TRADE_DOESNT_EXIST"),
        ("PUT", "/positions/EUR_USD/close", {"longUnits": "ALL"}, 404, "CLOSEOUT_POSITION_DOESNT_EXIST"),
        ("PUT", "/positions/XXX_YYY/close", {"longUnits": "ALL"}, 400, "instrument"),
        ("GET", "/pricing", None, 400, "instruments"),
        ("GET", "/pricing?instruments=XXX_YYY", None, 400, "instruments"),
        ("GET", "/instruments/EUR_USD/candles?granularity=X1", None, 400, "granularity"),
        ("GET", "/instruments/EUR_USD/candles?count=5001", None, 400, "count"),
        ("GET", "/instruments/EUR_USD/candles?alignmentTimezone=Mars", None, 400, "alignmentTimezone"),
        ("GET", "/transactions/sinceid?id=999999", None, 416, "out of range"),
        ("GET", "/transactions/idrange?from=2&to=1", None, 400, "'to'"),
        ("GET", "/transactions/999999", None, 404, "does not exist"),
        ("GET", "/transactions?pageSize=5000", None, 400, "pageSize"),
        ("GET", "/orders?state=LOST", None, 400, "state"),
        ("GET", "/changes", None, 400, "sinceTransactionID"),
        ("PATCH", "/configuration", {"marginRate": "7"}, 400, "MARGIN_RATE_INVALID"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    server: PracticeProcess, method: str, path: str, body: Any, status: int, word: str
) -> None:
    got, reply, _ = server.call(method, path, body)
    assert got == status and word in json.dumps(reply), reply
    assert reply["errorMessage"]


def test_a_body_that_is_no_json(server: PracticeProcess) -> None:
    request = Request(f"{server.account_url}/orders", data=b"{", method="POST")
    request.add_header("Authorization", f"Bearer {server.token}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urlopen(request, timeout=10)
    assert refused.value.code == 400 and b"Invalid JSON" in refused.value.read()


def test_a_reject_is_a_transaction_and_an_impossible_order_a_cancel(server: PracticeProcess) -> None:
    before = int(server.get("/summary")["lastTransactionID"])
    status, reply = server.order(0)
    assert status == 400 and reply["errorCode"] == reply["orderRejectTransaction"]["rejectReason"] == "UNITS_INVALID"
    assert reply["lastTransactionID"] == str(before + 1) == reply["orderRejectTransaction"]["id"]
    status, reply = server.order(90_000_000)
    assert status == 201 and reply["orderCancelTransaction"]["reason"] == "INSUFFICIENT_LIQUIDITY"
    status, reply = server.order(9_000_000)
    assert status == 201 and reply["orderCancelTransaction"]["reason"] == "INSUFFICIENT_MARGIN"
    assert "orderFillTransaction" not in reply


def test_order_and_trade_lists(server: PracticeProcess) -> None:
    limit = {"type": "LIMIT", "price": "50.000", "timeInForce": "GTC", "clientExtensions": {"id": "listed"}}
    number = server.order(10, "USD_JPY", **limit)[1]["orderCreateTransaction"]["id"]
    assert [order["id"] for order in server.get("/pendingOrders")["orders"]] == [number]
    assert server.get("/orders?instrument=EUR_USD")["orders"] == []
    assert server.get("/orders/@listed")["order"]["price"] == "50.000"
    server.call("PUT", "/orders/@listed/cancel", {})
    cancelled = server.get(f"/orders?state=ALL&ids={number}")["orders"]
    assert [order["state"] for order in cancelled] == ["CANCELLED"]
    opened = server.order(10, "USD_JPY")[1]["orderFillTransaction"]["id"]
    server.call("PUT", f"/trades/{opened}/close", {"units": "ALL"})
    assert server.get("/trades?instrument=USD_JPY")["trades"] == []
    (closed,) = server.get(f"/trades?state=CLOSED&count=1&beforeID={int(opened) + 1}")["trades"]
    assert closed["state"] == "CLOSED" and closed["averageClosePrice"] and closed["closeTime"]
    (flat,) = [item for item in server.get("/positions")["positions"] if item["instrument"] == "USD_JPY"]
    assert flat["long"]["units"] == "0" and flat["long"]["pl"] == flat["pl"]


def test_times_in_the_format_the_client_wants(server: PracticeProcess) -> None:
    for header in ("Accept-Datetime-Format", "AcceptDatetimeFormat"):
        _, body, _ = server.call("GET", "/pricing?instruments=EUR_USD", headers={header: "UNIX"})
        seconds, fraction = body["time"].split(".")
        assert int(seconds) > 1.6e9 and len(fraction) == 9
        request = Request(f"{server.account_url}/pricing/stream?instruments=EUR_USD", headers={header: "UNIX"})
        request.add_header("Authorization", f"Bearer {server.token}")
        with urlopen(request, timeout=10) as stream:
            assert json.loads(stream.readline())["time"].partition(".")[0].isdigit()
    assert server.get("/pricing?instruments=EUR_USD")["time"].endswith("Z")
    _, _, headers = server.call("GET", "/summary", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in headers


def test_candles_say_that_they_are_simulated(server: PracticeProcess) -> None:
    server.admin("clock/advance")
    body = server.get("/instruments/EUR_USD/candles?granularity=M1&price=MBA&count=2")
    assert body["candles"] and all(candle["simulated"] for candle in body["candles"])
    assert body["candles"][0]["complete"] is True
    assert float(body["candles"][0]["mid"]["c"]) > float(body["candles"][0]["bid"]["c"])


def test_the_lockstep_clock_moves_only_when_told(server: PracticeProcess) -> None:
    before = server.admin("state", method="GET")
    assert server.admin("state", method="GET") == before
    moved = server.admin("clock/advance")
    after = server.admin("state", method="GET")
    assert moved["time"] == after["time"] > before["time"]
    assert (after["step"], after["ticks"]) == (before["step"] + 1, before["ticks"] + moved["ticks"])
    assert not moved["end"]
    status, reply, _ = server.call("POST", f"{server.rest_url}/admin/clock/advance", {"to": before["time"]})
    assert status == 400 and "never runs back" in reply["errorMessage"]
    half = after["time"][:17] + "30.000000000Z"
    part = server.admin("clock/advance", {"to": half})
    rest = server.admin("clock/advance")
    assert part["time"] == half and part["ticks"] + rest["ticks"] == moved["ticks"]


def test_faults_strike_once_and_can_be_taken_back(server: PracticeProcess) -> None:
    server.admin("faults", {"kind": "error", "status": 502, "path": "/summary"})
    assert server.call("GET", "/pricing?instruments=EUR_USD")[0] == 200
    assert server.call("GET", "/summary")[0] == 502
    assert server.call("GET", "/summary")[0] == 200
    server.admin("faults", {"kind": "reject", "reason": "MARKET_HALTED"})
    assert server.order(10)[1]["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
    server.admin("faults", {"kind": "duplicate_request", "method": "POST"})
    status, reply = server.order(10, clientExtensions={"id": "twin"})
    assert status == 400 and reply["errorCode"] == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    assert server.get("/orders/@twin")["order"]["state"] == "FILLED"
    for kind, traded in (("lose_reply", True), ("lose_request", False)):
        server.admin("faults", {"kind": kind, "method": "POST", "path": "/orders"})
        with pytest.raises(OSError):
            server.order(10, clientExtensions={"id": kind})
        assert (server.call("GET", f"/orders/@{kind}")[0] == 200) is traded
    server.admin("faults", {"kind": "error"})
    assert server.admin("faults", method="DELETE")["faults"] == []
    assert server.call("GET", "/summary")[0] == 200
    assert server.call("POST", f"{server.rest_url}/admin/faults", {"kind": "meteor"})[0] == 400


def test_halts_show_in_prices_and_orders(server: PracticeProcess) -> None:
    server.admin("halt", {"halted": True, "instruments": ["EUR_USD"]})
    (price,) = server.get("/pricing?instruments=EUR_USD")["prices"]
    assert (price["tradeable"], price["status"]) == (False, "non-tradeable")
    assert server.order(10)[1]["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
    server.admin("halt", {"halted": False})
    assert server.order(10)[0] == 201 and server.get("/pricing?instruments=EUR_USD")["prices"][0]["tradeable"]


def test_the_ready_file_is_private_and_says_where(server: PracticeProcess) -> None:
    assert stat.S_IMODE(server.ready_file.stat().st_mode) == 0o600
    told = json.loads(server.ready_file.read_text())
    assert told["pid"] == server.process.pid and told["rest_url"] == server.rest_url
    assert server.rest_url.startswith("http://127.0.0.1:")


def test_settings_name_the_account_and_the_rate_is_limited(tmp_path: Path) -> None:
    environment = {"TIDEGATE_OANDA__TOKEN": "my-token", "TIDEGATE_OANDA__ACCOUNT_ID": "101-004-7654321-001"}
    arguments = ("--clock", "lockstep", "--requests-per-second", "10")
    with practice_broker(tmp_path, *arguments, environment=environment) as server:
        assert (server.account_id, server.token) == ("101-004-7654321-001", "my-token")
        answers = [server.call("GET", "/summary") for _ in range(40)]
        limited = [headers for status, _, headers in answers if status == 429]
        assert limited and limited[0]["Retry-After"] and answers[0][0] == 200
        server.process.terminate()
        _, errors = server.process.communicate(timeout=20)
        assert server.process.returncode == 0
        assert b"my-token" not in errors and b"7654321" not in errors


def test_a_taken_port_is_one_clear_line_and_exit_code_5(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "trading.practice.server", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path, check=False)
    assert done.returncode == 5
    (line,) = done.stderr.strip().splitlines()
    assert port in line and "in use" in line and "--port" in line


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--feed", "fixings"), 2, "--workspace"),
        (("--feed", "bars", "--clock", "real"), 2, "lockstep"),
        (("--from", "yesterday"), 2, "yesterday"),
        (("--from", "2020-01-01"), 2, "a real clock begins now"),
        (("--clock", "lockstep", "--from", "2020-02-01", "--to", "2020-01-01"), 5, "swap them"),
        (("--feed", "nonsense"), 2, "'nonsense'"),
        (("--port", "99999"), 2, "65535"),
        (("--instruments", "EURO"), 5, "EUR_USD"),
        (("--feed", "fixings", "--workspace", "."), 5, "params.yaml"),
    ],
)
def test_bad_arguments_end_with_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int, word: str) -> None:
    command = [sys.executable, "-m", "trading.practice.server", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path, check=False)
    assert done.returncode == code and word in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_sigterm_ends_it_cleanly_with_a_reader_on_the_stream(tmp_path: Path) -> None:
    with practice_broker(tmp_path) as server:
        request = Request(f"{server.account_url}/pricing/stream?instruments=EUR_USD")
        request.add_header("Authorization", f"Bearer {server.token}")
        with urlopen(request, timeout=10) as stream:
            assert json.loads(stream.readline())["instrument"] == "EUR_USD"
            assert stop_practice_broker(server) == 0
