"""The trader's loopback server says what the trader is doing, and the process refuses a second writer."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from trading_session import (
    MomentumPredictor,
    Practice,
    make_config,
    make_feed,
    make_panel,
    trade_on_practice,
    write_state,
)

from core.domain import BarKind
from core.errors import BadInputError, RefusedError
from trading.loop import TradingLoop
from trading.metrics import TraderMetrics
from trading.status import StatusServer


async def test_status_while_trading_and_a_clean_stop(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 200)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    running: asyncio.Future[tuple[TradingLoop, StatusServer]] = asyncio.get_running_loop().create_future()
    with Practice(make_feed(panel)) as practice:
        task = asyncio.create_task(
            trade_on_practice(
                config,
                practice.url,
                MomentumPredictor(config.feature_set),
                started=lambda loop, status: running.set_result((loop, status)),
            )
        )
        loop, status = await running
        url = f"http://127.0.0.1:{status.port}"
        async with aiohttp.ClientSession() as session:
            picture: dict[str, Any] = {"steps": 0}
            while picture["steps"] < 5:
                async with session.get(f"{url}/status") as reply:
                    picture = await reply.json()
            async with session.get(f"{url}/healthz") as reply:
                assert reply.status == 200
                assert (await reply.json())["state"] == "ACTIVE"
            async with session.get(f"{url}/metrics") as reply:
                metrics = await reply.text()
            # A second trader on the same session is refused while the first one runs.
            with pytest.raises(RefusedError, match="another writer"):
                await trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set))
        loop.stop()
        summary = await task
    assert picture["processed_through"] is not None
    assert picture["last_transaction_id"] > 0
    assert 'tidegate_hop_seconds_bucket{hop="features"' in metrics
    assert "tidegate_orders_total" in metrics
    assert summary.ended == "stopped"
    assert 5 <= summary.steps < 200
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    picture = {"healthy": True, "state": "ACTIVE", "degraded": {}}
    first = StatusServer(0, lambda: picture, TraderMetrics())
    await first.start()
    with pytest.raises(BadInputError, match=f"port {first.port} is in use"):
        await StatusServer(first.port, lambda: picture, TraderMetrics()).start()
    await first.close()


async def test_other_settings_and_other_features_are_refused(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 3)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    predictor = MomentumPredictor(config.feature_set)
    with Practice(make_feed(panel)) as practice:
        with pytest.raises(BadInputError, match="no column 'nonsense'"):
            await trade_on_practice(
                make_config(tmp_path, BarKind.FIXING, volatility_feature="nonsense"), practice.url, predictor
            )
        await trade_on_practice(config, practice.url, predictor)
        with pytest.raises(RefusedError, match="other settings"):
            await trade_on_practice(make_config(tmp_path, BarKind.FIXING, lookback=4), practice.url, predictor)
