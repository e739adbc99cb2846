"""``tidegate kill-switch`` as a person uses it: a trader that died with positions open, and one that runs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from oms_room import Room
from practice_fixtures import PracticeProcess, practice_broker
from pydantic import SecretStr

from core.clock import LiveClock
from core.digest import digest_bytes
from core.domain import OrderRequest, OrderType, Quote, TimeInForce
from core.errors import BadInputError, ExitCode, RefusedError, UsageError
from core.journal import Journal
from core.settings import OandaSettings, Settings
from tidegate.kill_switch import TurnOn, lift, look, report, turn_on
from trading import records
from trading.brokers.oanda import OandaBroker
from trading.control.kill_switch import KillSwitch
from trading.control.sessions import acknowledgement_path, sessions
from trading.control.setting import switch_path
from trading.desk import Desk
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.risk.parameters import RiskParameters, RiskState
from trading.state import SessionState
from trading.summary import SummaryCollector, read_state

NAMES = ("EUR_USD", "USD_JPY")
LIMITS = RiskParameters(stale_price_seconds=1e12)


def tidegate(state: Path, *words: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Run ``tidegate kill-switch …`` in a process; return exit code, the JSON object and what it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "tidegate.cli", "kill-switch", *words, "--json", "--state", str(state)],
        cwd=state.parent,
        env={**clean, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    line = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "{}"
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(line), done.stderr


def account_of(server: PracticeProcess) -> OandaSettings:
    return OandaSettings(
        rest_url=server.rest_url,
        stream_url=server.stream_url,
        token=SecretStr(server.token),
        account_id=SecretStr(server.account_id),
    )


class Session:
    """A session's desk on the practice broker, as a trader has it."""

    def __init__(self, state: Path, name: str, server: PracticeProcess) -> None:
        self.directory = state / "sessions" / name
        self.server = server
        self.clock = LiveClock()
        self.broker = OandaBroker(account_of(server), self.clock)
        self.journal = Journal(self.directory / "journal")
        self.state = SessionState()

    async def open(self) -> Desk:
        await self.broker.connect()
        offered = await self.broker.instruments()
        desk = Desk(
            self.broker,
            self.journal,
            self.clock,
            self.state,
            {name: offered[name] for name in NAMES},
            LIMITS,
            "USD",
            LatencyRecorder(),
            TraderMetrics(),
        )
        stream = self.broker.quotes(NAMES)
        while len(desk.quotes) < len(NAMES):
            item = await anext(stream)
            if isinstance(item, Quote):
                desk.quotes[item.instrument] = item
        account = await self.broker.account()
        key = f"practice:{digest_bytes(self.server.account_id.encode())[:12]}"
        desk.commit(
            records.SessionOpened(
                "s", "c", "test", "oanda", key, NAMES, account, positions=(), resumed=False, simulated=True
            )
        )
        for order in (
            OrderRequest("m", "EUR_USD", Decimal(1000), stop_loss_price=Decimal("0.9")),
            OrderRequest("j", "USD_JPY", Decimal(-700)),
            OrderRequest("a", "EUR_USD", Decimal(500), OrderType.LIMIT, TimeInForce.GTC, price=Decimal("0.95")),
        ):
            rates = desk.rates()
            assert await desk.send(order, rates, desk.equity(rates), 0)
        return desk

    async def close(self) -> None:
        self.journal.close()
        await self.broker.close()


def open_at(server: PracticeProcess) -> tuple[int, int]:
    positions = server.get("/openPositions")["positions"]
    return len(positions), len(server.get("/pendingOrders")["orders"])


def test_without_any_trader_it_says_that_nothing_was_cancelled(tmp_path: Path) -> None:
    state = tmp_path / "var"
    code, told, said = tidegate(state, "on", "--reason", "drill")
    assert code == 0 and told["on"] and "nothing was cancelled" in told["words"]
    assert str(switch_path(state)) in said
    code, told, _ = tidegate(state, "on", "--reason", "drill", "--broker", "paper")
    assert code == ExitCode.USAGE and "paper account lives in its trader" in told["error"]


def test_a_dead_traders_account_is_cancelled_and_closed_from_the_command_line(tmp_path: Path) -> None:
    state = tmp_path / "var"
    with practice_broker(tmp_path / "broker") as server:

        async def trade_and_die() -> None:
            session = Session(state, "night", server)
            await session.open()
            await session.close()

        asyncio.run(trade_and_die())
        assert open_at(server) == (2, 2)
        ready = ("--broker-ready-file", str(server.ready_file))
        # It dies twice on the way, at the places where a crash hurts most.
        for point in ("kill_switch.cancelled:1", "order.written:2"):
            code, _, _ = tidegate(state, "on", "--flatten", "--reason", "drill", *ready, TIDEGATE_CRASH_POINT=point)
            assert code == -signal.SIGKILL
        code, told, _ = tidegate(state, "on", "--flatten", "--reason", "drill", *ready)
        assert code == 0, told
        assert told["settled"]["done"] and told["settled"]["reconciled"], told
        assert open_at(server) == (0, 0)
        fills = [t for t in server.get("/transactions/sinceid?id=1")["transactions"] if t["type"] == "ORDER_FILL"]
        assert len(fills) == 4  # two in, two out: nothing was closed twice
        folded, _ = read_state(state / "sessions" / "night" / "journal", SummaryCollector("USD"))
        assert folded.risk_state is RiskState.HALTED and folded.positions.held() == {}
        assert folded.balance == Decimal(server.get("/summary")["account"]["balance"])
        outcome = look(Settings(state_directory=state))
        assert outcome.setting is not None and outcome.traders == ()
        assert [place.answers(outcome.setting) for place in outcome.stopped] == [True]
        assert "night: stopped, 0 orders cancelled" in report(outcome)
        wish = TurnOn("drill", broker_ready_file=server.ready_file, session="other")
        with pytest.raises(RefusedError, match="'other' on this account is not in"):
            asyncio.run(turn_on(Settings(state_directory=state), wish, print))


def test_a_running_trader_carries_it_out_and_a_deaf_one_is_told_of(tmp_path: Path) -> None:
    state = tmp_path / "var"
    with practice_broker(tmp_path / "broker") as server:

        async def run() -> list[tuple[int, dict[str, Any], str]]:
            session = Session(state, "day", server)
            desk = await session.open()
            switch = KillSwitch(switch_path(state), desk, session.clock, acknowledgement_path(session.directory))
            assert [place.running for place in sessions(state)] == [True]
            answers: list[tuple[int, dict[str, Any], str]] = []
            for deaf, words in (
                (True, ("on", "--wait", "0.3", "--reason", "nobody listens")),
                (False, ("on", "--flatten", "--reason", "drill", "--broker-ready-file", str(server.ready_file))),
                (False, ("off", "--reason", "over")),
            ):
                command = asyncio.create_task(asyncio.to_thread(tidegate, state, *words))
                while not command.done():
                    if not deaf:
                        await switch.poll()
                    await asyncio.sleep(0.02)
                answers.append(await command)
            assert desk.state.risk_state is RiskState.ACTIVE
            await session.close()
            return answers

        deaf, flat, off = asyncio.run(run())
        assert deaf[0] == ExitCode.UNAVAILABLE and "not finished" in deaf[1]["words"]
        assert flat[0] == 0 and flat[1]["settled"] is None
        (trader,) = flat[1]["traders"]
        assert (trader["said"]["cancelled"], trader["said"]["flattened"]) == (1, 2)
        assert open_at(server) == (0, 0)
        assert off[0] == 0 and not off[1]["traders"][0]["said"]["on"]


def test_what_a_trader_set_itself_is_lifted_by_name(tmp_path: Path) -> None:
    state = tmp_path / "var"
    directory = state / "sessions" / "down" / "journal"
    room = Room(directory)
    room.desk.halt("DRAWDOWN", "26 % below its peak", RiskState.REDUCING)
    room.close()
    code, told, _ = tidegate(state, "off", "--session", "down", "--reason", "looked at it")
    assert (code, told["was"], told["state"]) == (0, "REDUCING", "ACTIVE")
    settings = Settings(state_directory=state)
    for session, reason, kind, words in (
        ("down", "again", RefusedError, "not restricted"),
        ("nobody", "again", BadInputError, "no session 'nobody'"),
        ("down", " ", UsageError, "--reason"),
    ):
        with pytest.raises(kind, match=words):
            lift(settings, session, reason)
