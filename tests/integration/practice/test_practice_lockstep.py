"""A trader's view of lockstep over HTTP: whole steps on the stream, two runs alike, on fixings of a real catalog."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from practice_fixtures import PracticeProcess, practice_broker

from core.clock import from_rfc3339
from core.domain import INPUT_COLUMNS, Panel, default_instrument, mid_price
from data.panel import load_panel

NAMES = ("EUR_JPY", "EUR_USD", "USD_JPY")
PARAMS = """
data: {source: ecb, path: null, timezone: null, instruments: [EUR_JPY, EUR_USD, USD_JPY], since: 2025-01-02,
  until: null, holdout: {count: 12}, minimum_quality: 0.9}
costs: {half_spread_pips: {EUR_JPY: 0.9, EUR_USD: 0.6, USD_JPY: 0.7}, commission_per_million: 5.0}
risk: {initial_balance: 50000}
practice: {bridge_ticks: 4, seed: 11}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the embedded ECB rates ingested."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("workspace")
    (folder / "params.yaml").write_text(PARAMS)
    subprocess.run([sys.executable, "-m", "data.stages", "ingest"], cwd=folder, check=True, capture_output=True)
    return folder


async def session(server: PracticeProcess) -> tuple[list[list[dict[str, Any]]], list[Any]]:
    """Advance to the end, trading at every step; return the stream's lines by step, and what was filled."""
    steps: list[list[dict[str, Any]]] = []
    headers = {"Authorization": f"Bearer {server.token}"}
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as client:
        url = f"{server.account_url}/pricing/stream"
        async with client.get(url, params={"instruments": ",".join(NAMES)}) as stream:
            steps.append([json.loads(await stream.content.readline()) for _ in NAMES])
            end = False
            while not end:
                async with client.post(f"{server.rest_url}/admin/clock/advance", json={}) as reply:
                    moved = await reply.json()
                end = moved["end"]
                lines: list[dict[str, Any]] = []
                while not lines or lines[-1] != {"type": "HEARTBEAT", "time": moved["time"]}:
                    lines.append(json.loads(await stream.content.readline()))
                assert len([line for line in lines if line["type"] == "PRICE"]) == moved["ticks"]
                steps.append(lines)
                units = 1000 * (len(steps) % 3 - 1) or 500
                order = {"type": "MARKET", "instrument": NAMES[len(steps) % 3], "units": str(units)}
                order["clientExtensions"] = {"id": f"step-{len(steps)}"}  # type: ignore[assignment]
                async with client.post(f"{server.account_url}/orders", json={"order": order}) as reply:
                    assert reply.status == 201, await reply.text()
        async with client.get(f"{server.account_url}/transactions/sinceid", params={"id": "0"}) as reply:
            log = (await reply.json())["transactions"]
    hidden = ("accountID", "userID")
    return steps, [{key: value for key, value in item.items() if key not in hidden} for item in log]


def run(workspace: Path, folder: Path) -> tuple[list[list[dict[str, Any]]], list[Any]]:
    with practice_broker(folder, "--workspace", str(workspace), "--feed", "fixings") as server:
        return asyncio.run(session(server))


def test_two_runs_are_alike_and_every_fixing_is_hit(workspace: Path, tmp_path: Path) -> None:
    steps, log = run(workspace, tmp_path / "one")
    again, log_again = run(workspace, tmp_path / "two")
    assert steps == again and log == log_again
    assert len(steps) == 13 and sum(item["type"] == "ORDER_FILL" for item in log) == 12
    assert log[1]["amount"] == "50000.0000" and any(float(item.get("commission", 0)) > 0 for item in log)
    panel: Panel = load_panel(workspace / "data/raw/catalog", list(NAMES))
    close = panel.values[:, :, INPUT_COLUMNS.index("bid_close")]
    for row, lines in zip(range(-13, 0), steps, strict=True):
        prices = [line for line in lines if line["type"] == "PRICE"]
        assert all(line["simulated"] for line in prices)
        if row > -13:
            assert from_rfc3339(lines[-1]["time"]) == panel.time_ns[row]
            assert lines[-1]["type"] == "HEARTBEAT" and len(prices) == 3 * 5
        for line in prices[-3:]:
            column = panel.instruments.index(line["instrument"])
            precision = default_instrument(line["instrument"]).display_precision
            bid, ask = float(line["bids"][0]["price"]), float(line["asks"][0]["price"])
            assert mid_price(bid, ask, precision) == close[row, column]
    assert not np.isnan(close[-13:]).any()


def test_the_start_can_be_chosen(workspace: Path, tmp_path: Path) -> None:
    arguments = ("--workspace", str(workspace), "--feed", "fixings", "--from", "2026-06-01")
    with practice_broker(tmp_path, *arguments) as server:
        state = server.admin("state", method="GET")
        assert state["time"] < "2026-06-01" and server.admin("clock/advance")["time"] >= "2026-06-01"


def test_accelerated_time_runs_by_itself_to_the_end(workspace: Path, tmp_path: Path) -> None:
    arguments = ("--workspace", str(workspace), "--feed", "fixings", "--clock", "accelerated", "--speed", "1e7")
    with practice_broker(tmp_path, *arguments) as server:
        seen: list[str] = []
        while not (state := server.admin("state", method="GET"))["end"]:
            seen.append(state["time"])
        assert seen == sorted(seen) and state["step"] == 12
        status, reply, _ = server.call("POST", f"{server.rest_url}/admin/clock/advance", {})
        assert status == 400 and "runs by itself" in reply["errorMessage"]
