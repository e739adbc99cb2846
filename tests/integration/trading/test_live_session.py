"""A live session end to end: the broker's clock runs, its transaction stream is followed, a timer fills the silence."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from practice_fixtures import PracticeProcess, practice_broker
from rule_session import REAL_CLOCK, Alternating, rule_config, trade_rules

from core.journal import read_entries
from trading import records
from trading.loop import TradingLoop
from trading.reconciliation.parameters import ReconciliationParameters
from trading.status import StatusServer
from trading.summary import SessionSummary

OFTEN = ReconciliationParameters(open_orders_seconds=0.5, positions_seconds=0.8, confirm_seconds=0.2)
Script = Callable[[str, TradingLoop], Awaitable[None]]


async def session(
    tmp_path: Path, server: PracticeProcess, strategy: Alternating, script: Script, **changes: Any
) -> SessionSummary:
    """Trade while ``script`` runs with the address of the status server; then stop."""
    running: asyncio.Future[tuple[TradingLoop, StatusServer | None]] = asyncio.get_running_loop().create_future()
    config = rule_config(tmp_path, **changes)
    trader = asyncio.create_task(
        trade_rules(config, server, strategy, lambda loop, status: running.set_result((loop, status)))
    )
    await asyncio.wait({trader, running}, return_when=asyncio.FIRST_COMPLETED)
    if trader.done():
        return trader.result()
    loop, status = running.result()
    assert status is not None
    try:
        await script(f"http://127.0.0.1:{status.port}", loop)
    finally:
        loop.stop()
        summary = await trader
    return summary


async def look(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as client, client.get(url) as reply:
        return await reply.json()


async def until(url: str, fulfilled: Callable[[dict[str, Any]], bool], seconds: float = 20.0) -> dict[str, Any]:
    """Look at a status page until it says so."""
    async with asyncio.timeout(seconds):
        while True:
            picture = await look(url)
            if fulfilled(picture):
                return picture
            await asyncio.sleep(0.05)


def journal(tmp_path: Path) -> list[records.AnyRecord]:
    return [records.decode(entry) for entry in read_entries(tmp_path / "session" / "journal")]


async def test_a_live_session_follows_the_stream_and_ends_reconciled(tmp_path: Path) -> None:
    async def script(url: str, _: TradingLoop) -> None:
        picture = await until(
            f"{url}/status", lambda now: now["fills"] >= 4 and "positions" in now["reconciliation"]["last"]
        )
        assert picture["degraded"] == {}

    strategy = Alternating("rules")
    with practice_broker(tmp_path / "broker", *REAL_CLOCK) as server:
        summary = await session(tmp_path, server, strategy, script, reconciliation=OFTEN)
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled, summary.reconciliation.differences
    assert summary.orders >= 4
    assert summary.fills == summary.orders
    assert summary.differences == 0
    assert strategy.finished
    seen = journal(tmp_path)
    sources = {record.source for record in seen if isinstance(record, records.BrokerSaid)}
    assert sources <= {"reply", "stream"}, "the history was asked though the stream was fresh"
    scopes = {record.scope for record in seen if isinstance(record, records.Reconciled)}
    assert {"open_orders", "positions", "end"} <= scopes


async def test_a_stop_that_vanished_leaves_a_naked_position_and_stops_new_risk(tmp_path: Path) -> None:
    strategy = Alternating("rules", hold=True, stop=0.01)
    with practice_broker(tmp_path / "broker", *REAL_CLOCK) as server:

        async def script(url: str, _: TradingLoop) -> None:
            await until(f"{url}/status", lambda now: len(now["positions"]) == 2)
            # A foreign order, and a stop that somebody takes away at the broker.
            body = {"type": "LIMIT", "instrument": "EUR_USD", "units": "1", "price": "0.5", "timeInForce": "GTC"}
            assert server.call("POST", "/orders", {"order": body})[0] == 201
            stop = next(order for order in server.get("/pendingOrders")["orders"] if order["type"] == "STOP_LOSS")
            assert server.call("PUT", f"/orders/{stop['id']}/cancel")[0] == 200
            await until(f"{url}/healthz", lambda now: now["state"] == "REDUCING")

        summary = await session(tmp_path, server, strategy, script, reconciliation=OFTEN)
    assert summary.risk_state == "REDUCING"
    found = [record for record in journal(tmp_path) if isinstance(record, records.DifferenceFound)]
    assert {(record.kind, record.theirs) for record in found} == {("naked", "no stop"), ("order", "LIMIT")}
    confirmed = [record for record in found if "seen twice" in record.resolution]
    assert sorted(record.kind for record in confirmed) == ["naked", "order"], "each was written once while it stood"
    assert summary.differences == 4, "and both again at the end"
