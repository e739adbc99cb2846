"""From a tick to bytes on the wire to the broker's acceptance: the session's own parts on a practice broker beside.

200 ticks a second are written and aggregated away as in a session; every fifth closes a step on which a rule turns the
position over. Risk, order management, durable journal and the OANDA adapter are the ones that trade. "Bytes out" is
taken in this process right after the adapter's socket took the last byte. Between the orders, in the same run: the same
bytes written and synchronised raw on the same disk, and the same request to a bare HTTP echo.
"""

import asyncio
import contextlib
import http.client
import http.server
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import SecretStr

from core.clock import LiveClock, SteadyClock
from core.domain import INPUT_COLUMNS, BarKind, Heartbeat, Instrument, OrderRequest, Quote
from core.errors import UnavailableError
from core.files import read_json
from core.journal import Journal
from core.settings import OandaSettings
from tidegate.bench.machine import machine, percentiles
from trading import records
from trading.brokers.oanda import OandaBroker
from trading.config import TraderConfig
from trading.control.kill_switch import KillSwitch
from trading.degradation import Degradation
from trading.desk import Desk
from trading.execution.executor import PlanExecutor
from trading.following import EventFollower
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.oms.identity import client_order_id
from trading.reconciliation.continuous import Reconciler
from trading.risk.parameters import RiskParameters
from trading.state import SessionState
from trading.step_runner import StepRunner
from trading.steps import Step
from trading.strategy.decide import Decision
from trading.strategy.interface import Portfolio
from trading.trader import SWITCH_SECONDS
from trading.upkeep import Upkeep

INSTRUMENT = "EUR_USD"
TICKS_PER_SECOND, TICKS_PER_STEP = 200, 5
BYTES_BUDGET_MS, ACCEPTED_BUDGET_MS = 0.5, 5.0
_WARM = 20  # first orders that are not counted: connections and caches fill
_ENTRY_BYTES = 330  # about what one order is in the journal


class _Turning:
    """Turns the position over at every step."""

    def __init__(self) -> None:
        self.newest_ns = 0

    def observe(self, step: Step) -> None:
        """Remember the time."""
        self.newest_ns = step.time_ns

    async def prepare(self, step: Step) -> None:
        """Nobody is asked."""

    async def decide(self, step: Step, now_ns: int, portfolio: Portfolio) -> Sequence[Decision]:
        """Want the other side."""
        held = portfolio.positions.get(INSTRUMENT, Decimal(0))
        wanted = Decimal(-1000) if held > 0 else Decimal(1000)
        decision_id = f"bench:{INSTRUMENT}:{step.time_ns}"
        order = OrderRequest(
            client_order_id(decision_id), INSTRUMENT, wanted - held, decision_id=decision_id, strategy="bench"
        )
        return [Decision(INSTRUMENT, decision_id, held, 0.0, wanted, "turn", order, "")]

    def volatilities(self) -> Mapping[str, float]:
        """Not measured."""
        return {}

    def settle(self, step: Step, now_ns: int) -> None:
        """Nothing is kept."""

    def finish(self) -> None:
        """Nothing is kept."""


class _TimedDesk(Desk):
    """The desk, saying when it was given an order and when the broker had answered."""

    given = answered = 0

    async def send(self, order: OrderRequest, rates: Mapping[str, float], equity: float, received: int) -> bool:
        """Send as ever."""
        self.given = time.perf_counter_ns()
        sent = await super().send(order, rates, equity, received)
        self.answered = time.perf_counter_ns()
        return sent


@contextlib.contextmanager
def _bytes_out(stamps: list[int]) -> Generator[None]:
    """Note the time after every write of an HTTP request into its socket."""
    original = http.client.HTTPConnection.send

    def send(self: http.client.HTTPConnection, data: Any) -> None:
        original(self, data)
        stamps.append(time.perf_counter_ns())

    setattr(http.client.HTTPConnection, "send", send)  # noqa: B010  (a method is put back below)
    try:
        yield
    finally:
        setattr(http.client.HTTPConnection, "send", original)  # noqa: B010


@contextlib.contextmanager
def practice_broker(folder: Path) -> Generator[OandaSettings]:
    """Run a practice broker with simulated prices in a process of its own.

    Raises:
        UnavailableError: it does not start.
    """
    ready = folder / "practice.json"
    command = [sys.executable, "-m", "tidegate.cli", "practice-broker", "--feed", "simulation", "--clock", "real",
               "--ready-file", str(ready), "--instruments", INSTRUMENT]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError("the practice broker did not start: try `tidegate practice-broker`")
            time.sleep(0.05)
        found = read_json(ready)
        yield OandaSettings(
            environment="practice",
            rest_url=found["rest_url"],
            stream_url=found["stream_url"],
            token=SecretStr(found["token"]),
            account_id=SecretStr(found["account_id"]),
            requests_per_second=1000.0,
        )
    finally:
        process.terminate()
        process.wait(10)


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        """Answer with what came."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"HTTP/1.1 201 Created\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        self.wfile.write(head + content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _serve_echo(pipe: Any) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Echo)
    pipe.send(server.server_port)
    server.serve_forever()


def run(orders: int) -> dict[str, Any]:
    """Send ``orders`` orders along the whole path and return the latencies beside budgets and floors.

    Raises:
        UnavailableError: the practice broker does not start.
    """
    here, there = multiprocessing.get_context("spawn").Pipe()
    echo = multiprocessing.get_context("spawn").Process(target=_serve_echo, args=(there,), daemon=True)
    echo.start()
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-", dir=os.environ.get("TMPDIR")) as scratch:
            folder = Path(scratch)
            port = int(here.recv())
            with practice_broker(folder) as settings:
                return asyncio.run(_measure(orders, settings, port, folder))
    finally:
        echo.terminate()
        echo.join()


def _config(folder: Path) -> TraderConfig:
    return TraderConfig(
        session_id="bench",
        session_directory=folder,
        account_key="practice:bench",
        market=BarKind.BAR,
        instruments=(INSTRUMENT,),
        feature_set="bars",
        state_path=folder / "unused",
        lookback=1,
        strategy="bench",
        risk=RiskParameters(maximum_orders_per_minute=100_000, maximum_spread_pips=1000.0),
        follow_events=True,
        simulated=True,
        status_port=None,
    )


async def _measure(orders: int, settings: OandaSettings, echo_port: int, folder: Path) -> dict[str, Any]:
    sys.setswitchinterval(SWITCH_SECONDS)  # as a trader does
    config, clock = _config(folder), SteadyClock(LiveClock())
    broker = OandaBroker(settings, clock)
    await broker.connect()
    stamps: list[int] = []
    figures: dict[str, list[int]] = {name: [] for name in ("bytes", "tick_bytes", "accepted", "raw", "echo")}
    try:
        offered = await broker.instruments()
        instruments = {INSTRUMENT: offered[INSTRUMENT]}
        with Journal(folder / "journal") as journal, _bytes_out(stamps):
            parts = await _wire(config, broker, journal, clock, instruments)
            await _drive(orders, parts, broker, clock, stamps, figures, echo_port, folder)
    finally:
        await broker.close()
    return _result(orders, figures, folder)


async def _wire(
    config: TraderConfig, broker: OandaBroker, journal: Journal, clock: SteadyClock, instruments: dict[str, Instrument]
) -> tuple[_TimedDesk, StepRunner, EventFollower]:
    latency, metrics = LatencyRecorder(), TraderMetrics()
    desk = _TimedDesk(
        broker, journal, clock, SessionState(), instruments, config.risk, config.account_currency, latency, metrics
    )
    desk.commit(
        records.SessionOpened(
            "bench",
            config.digest(),
            "bench",
            broker.name,
            "bench",
            config.instruments,
            await broker.account(),
            (),
            False,
            True,
        )
    )
    degradation = Degradation(desk, clock, metrics)
    executor = PlanExecutor(config.execution, desk, clock, instruments)
    upkeep = Upkeep(
        KillSwitch(config.session_directory / "kill-switch.json", desk, clock),
        executor,
        Reconciler(config.reconciliation, broker, desk, clock, degradation, live=True),
        desk,
        degradation,
        clock,
        _Silent(),
        config.session_directory,
        60.0,
    )
    upkeep.follower = follower = EventFollower(broker, desk, degradation)
    follower.start()
    return desk, StepRunner(config, clock, desk, _Turning(), degradation, upkeep, latency, metrics), follower


class _Silent:
    """Nobody watches this feed for silence: the ticks are driven here."""

    heard_ns = 0

    async def prime(self) -> list[Quote | Heartbeat]:
        """Nothing stands."""
        return []

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        """Nothing comes."""
        for item in await self.prime():
            yield item


async def _drive(
    orders: int,
    parts: tuple[_TimedDesk, StepRunner, EventFollower],
    broker: OandaBroker,
    clock: SteadyClock,
    stamps: list[int],
    figures: dict[str, list[int]],
    echo_port: int,
    folder: Path,
) -> None:
    desk, runner, follower = parts
    raw = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    connection = http.client.HTTPConnection("127.0.0.1", echo_port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    content = os.urandom(_ENTRY_BYTES)
    body = content.hex().encode()
    stream = broker.quotes([INSTRUMENT])
    quote = await anext(stream)
    while not isinstance(quote, Quote):
        quote = await anext(stream)
    next_tick = time.perf_counter()
    number = ticks = 0
    while number < orders + _WARM:
        next_tick += 1.0 / TICKS_PER_SECOND
        await asyncio.sleep(max(0.0, next_tick - time.perf_counter()))
        received = time.perf_counter_ns()
        now = clock.time_ns()
        seen = Quote(INSTRUMENT, now, now, quote.bid, quote.ask, simulated=True)
        desk.quotes[INSTRUMENT] = seen
        desk.commit(records.QuoteSeen(seen))
        ticks += 1
        if ticks % TICKS_PER_STEP:
            continue
        rows = np.full((1, len(INPUT_COLUMNS)), quote.bid)
        stamps.clear()
        desk.given = desk.answered = 0
        await runner.run(Step(now, rows, (), True), received)
        if not stamps or not desk.answered:
            continue
        number += 1
        if number > _WARM:
            # The order's own bytes: the first writes after the desk had it, one for the head, one for the body.
            out = [stamp for stamp in stamps if desk.given <= stamp <= desk.answered]
            figures["bytes"].append(out[-1] - desk.given)
            figures["tick_bytes"].append(out[-1] - received)
            figures["accepted"].append(desk.answered - received)
            figures["raw"].append(_raw_write(raw, content))
            figures["echo"].append(await asyncio.to_thread(_echo, connection, body))
            next_tick = max(next_tick, time.perf_counter())
    await follower.close()
    connection.close()
    os.close(raw)


def _raw_write(descriptor: int, content: bytes) -> int:
    began = time.perf_counter_ns()
    os.write(descriptor, content)
    os.fdatasync(descriptor)
    return time.perf_counter_ns() - began


def _echo(connection: http.client.HTTPConnection, body: bytes) -> int:
    began = time.perf_counter_ns()
    connection.request("POST", "/", body)
    connection.getresponse().read()
    return time.perf_counter_ns() - began


def _result(orders: int, figures: dict[str, list[int]], folder: Path) -> dict[str, Any]:
    found = {name: percentiles(samples) for name, samples in figures.items()}
    bytes_p99, accepted_p99 = found["bytes"]["p99_ms"], found["accepted"]["p99_ms"]
    return {
        "machine": machine(folder),
        "ticks_per_second": TICKS_PER_SECOND,
        "orders": orders,
        "decision_to_bytes": found["bytes"],
        "tick_to_bytes": found["tick_bytes"],
        "tick_to_accepted": found["accepted"],
        "raw_write_and_fdatasync": found["raw"],
        "bare_http_echo": found["echo"],
        "bytes_over_raw_write_p50": round(found["bytes"]["p50_ms"] / found["raw"]["p50_ms"], 2),
        "accepted_over_raw_write_and_echo_p50": round(
            found["accepted"]["p50_ms"] / (found["raw"]["p50_ms"] + found["echo"]["p50_ms"]), 2
        ),
        "decision_to_bytes_budget": _judged(bytes_p99, BYTES_BUDGET_MS),
        "tick_to_accepted_budget": _judged(accepted_p99, ACCEPTED_BUDGET_MS),
        "predictor": "none: a rule decides; the prediction hop is measured by `tidegate bench serving`",
    }


def _judged(p99_ms: float, budget_ms: float) -> str:
    return f"p99 {p99_ms:g} ms, budget {budget_ms:g} ms: {'met' if p99_ms <= budget_ms else 'missed'}"
