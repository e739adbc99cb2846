"""Dependencies that freeze, die or fill up: PostgreSQL stopped, the prediction service killed, a full disk."""

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from desk_parts import make_desk
from practice_fixtures import practice_broker
from rule_session import REAL_CLOCK, Alternating, rule_config, trade_rules
from test_live_session import until
from test_trading_loop_paper import trade_on_paper
from trading_session import MomentumPredictor, make_config, make_panel, write_state

from core.clock import LiveClock
from core.domain import BarKind, OrderRequest, Prediction, PredictionRequest
from core.embedded.postgres import EmbeddedPostgres
from core.errors import UnavailableError
from core.journal import read_entries
from serving.client import ServeClient
from serving.fallback import FallbackPredictor
from trading import records
from trading.loop import TradingLoop
from trading.status import StatusServer


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(text) for text in children.read_text().split()] if children.exists() else []
    return [pid, *(process for child in below for process in family(child))]


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a server and all its backends, as a hanging disk would."""
    stopped = family(pid)
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            os.kill(process, signal.SIGCONT)


async def test_trading_goes_on_while_postgresql_is_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # So long an answer may be owed; a product value of seconds is only waited for here.
    monkeypatch.setattr("trading.upkeep.STALLED_SECONDS", 1.0)
    database = EmbeddedPostgres(tmp_path / "postgres")
    database.start()
    running: asyncio.Future[tuple[TradingLoop, StatusServer | None]] = asyncio.get_running_loop().create_future()
    try:
        with practice_broker(tmp_path / "broker", *REAL_CLOCK) as server:
            trader = asyncio.create_task(
                trade_rules(
                    rule_config(tmp_path),
                    server,
                    Alternating("rules"),
                    lambda loop, status: running.set_result((loop, status)),
                    database.url,
                )
            )
            loop, status = await running
            assert status is not None
            url = f"http://127.0.0.1:{status.port}"
            try:
                await until(f"{url}/status", lambda now: now["fills"] >= 2 and now["ledger_lag_entries"] is not None)
                with frozen(database.pid):
                    picture = await until(f"{url}/healthz", lambda now: "database" in now["degraded"])
                    assert picture["healthy"]
                    assert "owed an answer" in picture["degraded"]["database"]
                    fills = (await until(f"{url}/status", lambda _: True))["fills"]
                    await until(f"{url}/status", lambda now: now["fills"] >= fills + 2)
                await until(f"{url}/healthz", lambda now: "database" not in now["degraded"])
            finally:
                loop.stop()
                summary = await trader
        assert summary.ledger_complete
        assert summary.reconciliation is not None
        assert summary.reconciliation.reconciled
    finally:
        database.stop()


@asynccontextmanager
async def silent_service() -> AsyncIterator[tuple[str, web.AppRunner]]:
    """A service that takes requests and does not answer in time; ``cleanup`` of the runner kills it."""

    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", hang)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", runner
    finally:
        await runner.cleanup()


class Nobody:
    """A local predictor without a verified model."""

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        raise UnavailableError("no verified model in this process")


@pytest.mark.parametrize("local", [True, False])
async def test_a_silent_then_dead_service_gives_way_to_the_local_champion_else_to_no_new_risk(
    tmp_path: Path, local: bool
) -> None:
    panel = make_panel(BarKind.FIXING, 20)
    config = make_config(tmp_path, BarKind.FIXING, prediction_service=True)
    write_state(panel, config.feature_set, config.state_path)
    from prometheus_client import CollectorRegistry

    async with silent_service() as (url, runner), ServeClient(url, 0.05) as client:
        champion = MomentumPredictor(config.feature_set) if local else Nobody()
        predictor = FallbackPredictor(client, champion, registry=CollectorRegistry())
        asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(runner.cleanup()))
        summary = await trade_on_paper(config, panel, predictor)
        await predictor.close()
    assert summary.steps == 20
    assert (summary.orders > 0) is local
    assert set(summary.degraded) == ({"serving"} if local else {"prediction"})
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: the write fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_with_a_full_journal_nothing_is_sent(tmp_path: Path) -> None:
    clock = LiveClock()
    with (
        pytest.raises(UnavailableError, match=r"journal .* (cannot be written|failed)"),
        make_desk(tmp_path, clock) as parts,
    ):
        now = clock.time_ns()
        parts.quote("EUR_USD", 1.1, 1.1001, now)
        parts.quote("USD_JPY", 150.0, 150.01, now)
        rates = parts.desk.rates()
        before = len(parts.broker.exchange.transactions)
        order = OrderRequest("rules:EUR_USD:1:0", "EUR_USD", Decimal(1000))
        # Whatever was reserved on disk ahead of the entries is used up first.
        with full_disk(16):
            try:
                for number in range(100_000):
                    parts.desk.commit(records.Degraded(now, "price", "x" * 1000 + str(number)))
                    parts.desk.flush()
            except UnavailableError:
                with pytest.raises(UnavailableError):
                    await parts.desk.send(order, rates, parts.desk.equity(rates), 0)
                assert len(parts.broker.exchange.transactions) == before, "an order left without its record"
                raise
    kinds = [entry.kind for entry in read_entries(tmp_path / "journal")]
    assert "submitted" not in kinds
