"""Options of the server: limits, account kinds, hours, and a market fed by another server."""

import json
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from practice_fixtures import practice_broker, start_practice_broker, stop_practice_broker

SIMULATION = ("--clock", "lockstep", "--from", "2024-03-08T21:50:00Z", "--seed", "4")


def test_connections_and_streams_are_limited(tmp_path: Path) -> None:
    arguments = (*SIMULATION, "--connections-per-second", "2", "--streams-per-account", "1")
    with practice_broker(tmp_path, *arguments) as server:
        answers = [server.call("GET", "/summary")[0] for _ in range(6)]  # a new connection each
        assert answers[:2] == [200, 200] and 429 in answers
        time.sleep(1.0)
        request = Request(f"{server.account_url}/transactions/stream")
        request.add_header("Authorization", f"Bearer {server.token}")
        with urlopen(request, timeout=10) as stream:
            assert json.loads(stream.readline())["type"] == "HEARTBEAT"
            with pytest.raises(HTTPError) as refused:
                urlopen(request, timeout=10)
            assert refused.value.code == 429 and b"Stream limit" in refused.value.read()


def test_an_account_with_every_rule_of_its_own(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    rules = ("--hedging", "--financing", "--weekend-halt", "--maintenance", "16:55-17:00", "--liquidity", "5000")
    server = start_practice_broker(tmp_path, *SIMULATION, *state, *rules)
    try:
        assert server.get("/summary")["account"]["hedgingEnabled"] is True
        server.order(1000)
        server.order(-400)
        (position,) = server.get("/openPositions")["positions"]
        assert (position["long"]["units"], position["short"]["units"]) == ("1000", "-400")
        financing = server.get("/instruments?instruments=EUR_USD")["instruments"][0]["financing"]
        assert financing["longRate"] == "-0.0100"
        assert {day["dayOfWeek"]: day["daysCharged"] for day in financing["financingDaysOfWeek"]}["WEDNESDAY"] == 3
        server.admin("clock/advance", {"to": "2024-03-08T21:56:00Z"})  # maintenance, then the weekend
        assert server.order(10)[1]["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
        server.admin("clock/advance", {"to": "2024-03-08T22:30:00Z"})
        (price,) = server.get("/pricing?instruments=EUR_USD")["prices"]
        assert (price["tradeable"], price["status"]) == (False, "non-tradeable")
        assert server.admin("state", method="GET")["ticksWhileClosed"] > 0
        log = server.get("/transactions/sinceid?id=2")["transactions"]
        assert log[-1]["type"] == "DAILY_FINANCING" and log[-1]["time"].startswith("2024-03-08T22:00:00")
        whole = server.get("")
        server.kill()
        server = start_practice_broker(tmp_path, *SIMULATION, *state, *rules)
        assert server.get("") == whole
        server.kill()
        with pytest.raises(RuntimeError, match="another hedging"):
            start_practice_broker(tmp_path, *SIMULATION, *state)
    finally:
        stop_practice_broker(server)


def test_real_quotes_of_another_server_and_practice_fills(tmp_path: Path) -> None:
    arguments = (
        "--clock",
        "lockstep",
        "--from",
        "2024-03-05T10:00:00Z",
        "--seed",
        "5",
        "--instruments",
        "EUR_USD,USD_JPY",
    )
    with practice_broker(tmp_path / "source", *arguments) as source:
        live = ("--feed", "live", "--source-ready-file", str(source.ready_file))
        with practice_broker(tmp_path / "live", *live) as server:
            assert server.account_id != source.account_id and server.token != source.token
            while not source.admin("state", method="GET")["streams"]["pricing"]:
                time.sleep(0.01)
            source.admin("clock/advance")
            theirs = source.get("/pricing?instruments=EUR_USD,USD_JPY")["prices"]
            while True:
                ours = server.get("/pricing?instruments=EUR_USD,USD_JPY")["prices"]
                if [item["time"] for item in ours] == [item["time"] for item in theirs]:
                    break
                time.sleep(0.01)
            assert [(item["bids"], item["asks"]) for item in ours] == [(item["bids"], item["asks"]) for item in theirs]
            _, made = server.order(1000)
            assert made["orderFillTransaction"]["price"] == ours[0]["asks"][0]["price"]
            assert source.get("/openTrades")["trades"] == []  # nothing is ever sent there
            source.admin("faults", {"kind": "drop_stream"})
            while server.get("/pricing?instruments=EUR_USD")["prices"][0]["tradeable"]:
                time.sleep(0.01)
            assert server.order(1000)[1]["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
