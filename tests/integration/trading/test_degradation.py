"""What goes away is said in /healthz, in the metrics and in the journal; no new risk is taken; it comes back."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from practice_fixtures import PracticeProcess, practice_broker
from rule_session import REAL_CLOCK, Alternating, process_settings, rule_config
from test_live_session import OFTEN, journal, session, until

from core.clock import LiveClock
from core.errors import ConfigurationError
from trading import records
from trading.brokers.oanda import OandaBroker
from trading.loop import TradingLoop
from trading.replay import replay_session
from trading.risk.limits import RiskParameters


async def metrics(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/metrics") as reply:
        return await reply.text()


async def test_a_dead_broker_is_said_and_nothing_is_sent_to_it(tmp_path: Path) -> None:
    """The broker's process is killed while the trader runs: streams and requests fail, and no order is tried."""
    with practice_broker(tmp_path / "broker", *REAL_CLOCK) as server:

        async def script(url: str, _: TradingLoop) -> None:
            await until(f"{url}/status", lambda now: now["fills"] >= 2)
            server.kill()
            picture = await until(f"{url}/healthz", lambda now: {"price_stream", "broker"} <= set(now["degraded"]))
            assert "no new risk" in picture["degraded"]["price_stream"]
            assert picture["degraded_since"]["price_stream"] > "2020"
            told = await metrics(url)
            assert 'tidegate_degraded{what="price_stream"} 1.0' in told
            assert 'tidegate_broker_stream_connected{stream="price"} 0.0' in told
            before = (await until(f"{url}/status", lambda _: True))["orders"]
            await until(f"{url}/status", lambda now: now["steps"] >= 0)
            await asyncio.sleep(1.5)
            assert (await until(f"{url}/status", lambda _: True))["orders"] == before

        summary = await session(
            tmp_path,
            server,
            Alternating("rules"),
            script,
            reconciliation=OFTEN,
            risk=RiskParameters(stale_price_seconds=1.0),
        )
    assert summary.reconciliation is None, "nobody was there to compare with"
    unresolved = [record for record in journal(tmp_path) if isinstance(record, records.OrderUnresolved)]
    sent = [record for record in journal(tmp_path) if isinstance(record, records.OrderSubmitted)]
    assert len({record.order.client_order_id for record in sent}) == len(sent)
    assert len(unresolved) <= 1


async def test_streams_that_break_come_back_and_the_session_ends_reconciled(tmp_path: Path) -> None:
    with practice_broker(tmp_path / "broker", *REAL_CLOCK) as server:

        async def script(url: str, _: TradingLoop) -> None:
            await until(f"{url}/status", lambda now: now["fills"] >= 2)
            server.admin("faults", {"kind": "drop_stream"})
            fills = (await until(f"{url}/status", lambda _: True))["fills"]
            await until(f"{url}/status", lambda now: now["fills"] >= fills + 2)

        summary = await session(tmp_path, server, Alternating("rules"), script)
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled, summary.reconciliation.differences


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_or_account_halts_and_sends_nothing_more(tmp_path: Path, status: int) -> None:
    with practice_broker(tmp_path / "broker", *REAL_CLOCK) as server:
        fault = {"kind": "error", "method": "POST", "path": "/orders", "status": status, "count": 1}
        server.admin("faults", fault)

        async def script(url: str, _: TradingLoop) -> None:
            picture = await until(f"{url}/healthz", lambda now: now["state"] == "HALTED")
            assert picture["state_reason"] == "BROKER_FORBIDDEN"
            steps = (await until(f"{url}/status", lambda _: True))["steps"]
            await until(f"{url}/status", lambda now: now["steps"] >= steps + 1)

        summary = await session(tmp_path, server, Alternating("rules"), script)
        assert server.get("/trades")["trades"] == []
    assert summary.risk_state == "HALTED"
    assert summary.fills == 0
    halted = [record for record in journal(tmp_path) if isinstance(record, records.RiskStateChanged)]
    assert f"({status})" in halted[0].words
    sent = [record for record in journal(tmp_path) if isinstance(record, records.OrderSubmitted)]
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/summary", 401), ("GET", "/pricing/stream", 403)],
    ids=["reconciliation", "price stream"],
)
async def test_a_refusal_to_answer_in_mid_session_halts(tmp_path: Path, method: str, path: str, status: int) -> None:
    """No order is asked about: the broker refuses to say what there is, or to open a broken stream again."""
    with practice_broker(tmp_path / "broker", *REAL_CLOCK) as server:

        async def script(url: str, _: TradingLoop) -> None:
            await until(f"{url}/status", lambda now: now["fills"] >= 1)
            server.admin("faults", {"kind": "error", "method": method, "path": path, "status": status, "count": 1000})
            if path != "/summary":
                server.admin("faults", {"kind": "drop_stream"})
            picture = await until(f"{url}/healthz", lambda now: now["state"] == "HALTED")
            assert picture["state_reason"] == "BROKER_FORBIDDEN"

        await session(tmp_path, server, Alternating("rules"), script, reconciliation=OFTEN)
    halted = [record for record in journal(tmp_path) if isinstance(record, records.RiskStateChanged)]
    assert [(record.state.value, record.reason) for record in halted] == [("HALTED", "BROKER_FORBIDDEN")]
    assert f"({status})" in halted[0].words
    report = await replay_session(tmp_path / "session", strategy_maker=lambda desk, _: Alternating("rules"))
    assert report.equal, report.difference.lines() if report.difference else ""


async def wrong(tmp_path: Path, server: PracticeProcess, **changes: Any) -> None:
    config = rule_config(tmp_path, account_currency=changes.pop("account_currency", "USD"))
    broker = OandaBroker(
        process_settings(server, **changes), LiveClock(), account_currency=config.account_currency, settle_seconds=0.05
    )
    try:
        await broker.connect()
    finally:
        await broker.close()


async def test_wrong_token_account_and_currency_are_clear_before_anything_begins(tmp_path: Path) -> None:
    with practice_broker(tmp_path / "broker", *REAL_CLOCK) as server:
        with pytest.raises(ConfigurationError, match=r"token \(401\).*TIDEGATE_OANDA__TOKEN"):
            await wrong(tmp_path, server, token="not-the-token")
        with pytest.raises(ConfigurationError, match="TIDEGATE_OANDA__ACCOUNT_ID"):
            await wrong(tmp_path, server, account_id="101-004-9999999-001")
        with pytest.raises(ConfigurationError, match="in USD, the settings say EUR"):
            await wrong(tmp_path, server, account_currency="EUR")
    assert not (tmp_path / "session").exists()
