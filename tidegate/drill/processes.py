"""The two processes of a drill, each the real program: the practice broker and the trader.

A warm worker forks them (it has imported everything and runs no thread); a cold start goes through
``python -m tidegate.drill.processes FILE`` and so also measures what the imports take.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from core import crash_points
from core.domain import Heartbeat, Quote
from core.errors import TidegateError

TOKEN = "token-of-the-drill"
ACCOUNT = "101-004-7654321-001"


class BrokerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """How a practice broker is to run."""

    folder: str
    seed: int
    steps: int
    instruments: tuple[str, ...]
    start_ns: int
    port: int = 0
    speed: float = 0.0  # 0: lockstep
    keeps_state: bool = False


class TraderOrder(msgspec.Struct, frozen=True, kw_only=True):
    """How a trader is to run: one life of a session."""

    folder: str
    url: str
    life: int
    state_path: str
    session_id: str
    database_url: str = ""
    crash_point: str = ""
    style: str = "market"
    started: float = 0.0  # CLOCK_MONOTONIC when the process was asked for
    speed: float = 0.0
    segment_bytes: int = 64 * 1024 * 1024


class Life(msgspec.Struct, kw_only=True):
    """What a trader's life measured, by CLOCK_MONOTONIC in seconds; 0 where it did not come that far."""

    started: float
    imported: float = 0.0
    trading: float = 0.0  # recovered, reconciled, interrupted step finished, next event asked for


def run_broker(order: BrokerOrder) -> None:
    """Serve until SIGTERM."""
    from trading.practice.config import ClockMode, FeedKind, PracticeConfig
    from trading.practice.server import run_practice_broker

    folder = Path(order.folder)
    config = PracticeConfig(
        token=TOKEN,
        account_id=ACCOUNT,
        feed=FeedKind.SIMULATION,
        clock=ClockMode.ACCELERATED if order.speed else ClockMode.LOCKSTEP,
        from_ns=order.start_ns,
        port=order.port,
        ready_file=folder / "broker.json",
        state_directory=folder / "broker" if order.keeps_state else None,
        instruments=order.instruments,
        seed=order.seed,
        steps=order.steps,
        speed=order.speed or 1.0,
        heartbeat_seconds=0.25,
    )
    run_practice_broker(config, order.start_ns)


def run_trader_life(order: TraderOrder) -> None:
    """Trade until the market's end."""
    from tidegate.drill.trader import trade_life

    life = Life(started=order.started, imported=time.monotonic())
    path = Path(order.folder) / f"life-{order.life}.json"

    def trading() -> None:
        life.trading = time.monotonic()
        path.write_bytes(msgspec.json.encode(life))

    path.write_bytes(msgspec.json.encode(life))
    crash_points.arm(order.crash_point)
    asyncio.run(trade_life(order, trading))


def fork(work: Callable[[], None], log: Path) -> int:
    """Run ``work`` in a forked process whose output goes to ``log``; return its pid. The caller runs no thread."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _redirect(log)
        code = _guarded(work)
    finally:
        os._exit(code)


def spawn(order: BrokerOrder | TraderOrder, log: Path) -> int:
    """Run an order in a fresh interpreter; return its pid. The caller reaps it."""
    kind = "broker" if isinstance(order, BrokerOrder) else "trader"
    name = f"{kind}-{order.life}.order" if isinstance(order, TraderOrder) else "broker.order"
    path = Path(order.folder) / name
    path.write_bytes(msgspec.json.encode(order))
    arguments = [sys.executable, "-m", "tidegate.drill.processes", kind, str(path), str(log)]
    return os.posix_spawn(sys.executable, arguments, os.environ)


def _redirect(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _guarded(work: Callable[[], None]) -> int:
    import traceback

    try:
        work()
    except TidegateError as error:
        sys.stderr.write(f"ended: {type(error).__name__}: {error.message}\n")
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
    return 0


def main() -> NoReturn:
    """Read an order and carry it out: the cold start."""
    kind, path, log = sys.argv[1:4]
    _redirect(Path(log))
    content = Path(path).read_bytes()
    if kind == "broker":
        order = msgspec.json.decode(content, type=BrokerOrder)
        os._exit(_guarded(lambda: run_broker(order)))
    life = msgspec.json.decode(content, type=TraderOrder)
    os._exit(_guarded(lambda: run_trader_life(life)))


class TimedFeed:
    """A feed that says when the loop asks it for the next event for the first time: then the trader trades again."""

    def __init__(
        self, inner: Any, asked: Callable[[], None], observe: Callable[[Quote | Heartbeat], None] | None = None
    ) -> None:
        self._inner = inner
        self._asked = asked
        self._observe = observe

    @property
    def heard_ns(self) -> int:
        """When the inner feed last said anything."""
        return self._inner.heard_ns

    async def prime(self) -> list[Quote | Heartbeat]:
        return await self._inner.prime()

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        self._asked()
        async for item in self._inner.events():
            if self._observe is not None:
                self._observe(item)
            yield item


if __name__ == "__main__":
    main()
