"""SIGKILL of the practice broker: what was answered is still there, and the market goes on where it stood."""

import json
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from practice_fixtures import PracticeProcess, start_practice_broker, stop_practice_broker

SIMULATION = ("--clock", "lockstep", "--from", "2024-03-05T10:00:00Z", "--seed", "9")


_started: list[PracticeProcess] = []


@pytest.fixture(autouse=True)
def no_server_is_left_behind() -> Iterator[None]:
    yield
    for server in _started:
        if server.process.poll() is None:
            server.kill()
    _started.clear()


def start(folder: Path) -> PracticeProcess:
    server = start_practice_broker(folder, *SIMULATION, "--state", str(folder / "state"))
    _started.append(server)
    return server


def whole(server: PracticeProcess) -> dict[str, Any]:
    state = server.admin("state", method="GET")
    return {
        "account": server.get(""),
        "transactions": server.get("/transactions/sinceid?id=0"),
        "trades": server.get("/trades?state=ALL"),
        "orders": server.get("/orders?state=ALL"),
        "prices": server.get("/pricing?instruments=EUR_USD,USD_JPY"),
        "candles": server.get("/instruments/EUR_USD/candles?granularity=M1&price=BA"),
        "market": {key: state[key] for key in ("time", "step", "ticks")},
    }


def test_a_killed_broker_comes_back_whole_and_goes_on_alike(tmp_path: Path) -> None:
    server = start(tmp_path)
    control = start(tmp_path / "control")
    for one in (server, control):
        for number in range(4):
            one.admin("clock/advance")
            one.order(1000 * (number + 1), clientExtensions={"id": f"k{number}"}, stopLossOnFill={"distance": "0.05"})
        one.order(500, "USD_JPY", type="LIMIT", price="50.000", timeInForce="GTC")
        one.admin("clock/advance", {"to": "2024-03-05T10:04:30Z"})  # in the middle of a step
    before = whole(server)
    server.kill()
    again = start(tmp_path)
    assert (again.account_id, again.token) == (server.account_id, server.token)
    assert whole(again) == before
    status, reply = again.order(1, clientExtensions={"id": "k2"})
    assert status == 400 and reply["errorCode"] == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    control.order(1, clientExtensions={"id": "k2"})
    for one in (again, control):
        one.admin("clock/advance")
        one.admin("clock/advance")
        one.order(-700)
    mine, theirs = whole(again), whole(control)
    for part in ("prices", "candles", "market"):
        assert mine[part] == theirs[part]
    fills = [
        [
            (item["id"], item["price"], item["units"])
            for item in one["transactions"]["transactions"]
            if item["type"] == "ORDER_FILL"
        ]
        for one in (mine, theirs)
    ]
    assert fills[0] == fills[1] and len(fills[0]) == 5
    assert stop_practice_broker(again) == 0 and stop_practice_broker(control) == 0


def test_no_answered_order_is_lost_by_a_kill_in_the_middle_of_trading(tmp_path: Path) -> None:
    server = start(tmp_path)
    answered: list[str] = []

    def trade() -> None:
        for number in range(10_000):
            try:
                _, reply = server.order(10 if number % 2 else -10, clientExtensions={"id": f"n{number}"})
            except (OSError, urllib.error.URLError, json.JSONDecodeError):
                return
            answered.append(reply["orderFillTransaction"]["id"])

    trader = threading.Thread(target=trade)
    trader.start()
    while len(answered) < 60 and trader.is_alive():
        trader.join(0.005)
    server.kill()
    trader.join()
    again = start(tmp_path)
    log = {item["id"]: item["type"] for item in again.get("/transactions/sinceid?id=0")["transactions"]}
    assert len(answered) >= 60 and all(log[number] == "ORDER_FILL" for number in answered)
    assert sorted(map(int, log)) == list(range(1, len(log) + 1))
    stop_practice_broker(again)


def test_a_torn_last_line_is_cut_and_other_damage_is_refused(tmp_path: Path) -> None:
    server = start(tmp_path)
    server.order(100, clientExtensions={"id": "whole"})
    server.kill()
    (journal,) = (tmp_path / "state").glob("journal-*.log")
    with journal.open("ab") as stream:
        stream.write(b'12345678 {"command":"submit","time_ns"')
    again = start(tmp_path)
    assert again.get("/orders/@whole")["order"]["state"] == "FILLED"
    again.order(100, clientExtensions={"id": "after"})
    again.kill()
    third = start(tmp_path)
    assert third.get("/orders/@after")["order"]["state"] == "FILLED"
    third.kill()
    content = bytearray(journal.read_bytes())
    content[20] ^= 1
    journal.write_bytes(content)
    with pytest.raises(RuntimeError, match="damaged at byte 0"):
        start(tmp_path)


def test_a_state_folder_belongs_to_one_account_and_one_market(tmp_path: Path) -> None:
    stop_practice_broker(start(tmp_path))
    state = ("--state", str(tmp_path / "state"))
    for arguments, environment in (
        ((*SIMULATION, *state), {"TIDEGATE_OANDA__ACCOUNT_ID": "101-001-9-001"}),
        ((*SIMULATION, *state, "--instruments", "EUR_USD"), {}),
    ):
        with pytest.raises(RuntimeError, match=str(tmp_path / "state")):
            start_practice_broker(tmp_path, *arguments, environment=environment)


def test_a_full_journal_becomes_a_snapshot(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from core.domain import default_instrument
from trading.practice.config import ClockMode, PracticeConfig
from trading.practice.feeds.simulation import SimulationFeed
from trading.practice.persistence import Store
from trading.practice.venue import Venue
from trading.matching.commands import OrderSpecification, Submit
from decimal import Decimal
folder = Path(sys.argv[1])
items = {name: default_instrument(name) for name in ("EUR_USD", "USD_JPY")}
def venue():
    feed = SimulationFeed(items, start_ns=10**18, seed=1, half_spread_points={name: 5 for name in items})
    config = PracticeConfig(token="t", account_id="101-001-1-001", clock=ClockMode.LOCKSTEP, state_directory=folder)
    return Venue(config, items, feed, Store(folder, compact_bytes=20_000))
first = venue()
for number in range(40):
    first.advance()
    spec = OrderSpecification(instrument="EUR_USD", units=Decimal(number + 1))
    first.apply(Submit(time_ns=first.time_ns, order=spec))
names = sorted(path.name for path in folder.iterdir())
assert len(names) == 2 and names[0] != "journal-1.log", names
assert (folder / names[0]).stat().st_size < 40_000
second = venue()
assert second.exchange.snapshot() == first.exchange.snapshot()
assert second.state()["step"] == first.state()["step"] == 40
assert second.advance() == first.advance()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_ids_never_go_back_over_kills_under_faults(tmp_path: Path) -> None:
    rules = ("--financing", "--liquidity", "3000")
    highest, made = 0, 0
    for life in range(2):
        server = start_practice_broker(tmp_path, *SIMULATION, "--state", str(tmp_path / "state"), *rules)
        _started.append(server)
        before = int(server.get("/summary")["lastTransactionID"])
        assert before >= highest
        for number, kind in enumerate(("lose_reply", "lose_request", "reject", "halt", "duplicate_request")):
            server.admin("faults", {"kind": kind, "probability": 0.2, "seed": 10 * life + number, "method": "POST"})
        for number in range(25):
            if number % 5 == 0:
                server.admin("clock/advance")
            labels = {"clientExtensions": {"id": f"{life}-{number}"}, "timeInForce": "IOC"}
            try:
                _, reply = server.order(2000 if number % 2 else -2500, **labels)
            except OSError:
                continue
            assert int(reply["lastTransactionID"]) > highest
            highest, made = int(reply["lastTransactionID"]), made + 1
        server.kill()
    again = start_practice_broker(tmp_path, *SIMULATION, "--state", str(tmp_path / "state"), *rules)
    _started.append(again)
    log = again.get("/transactions/sinceid?id=0")["transactions"]
    assert [int(item["id"]) for item in log] == list(range(1, len(log) + 1)) and len(log) >= highest and made > 20
    clients = [item["clientExtensions"]["id"] for item in log if item["type"] == "MARKET_ORDER"]
    assert len(clients) == len(set(clients))
