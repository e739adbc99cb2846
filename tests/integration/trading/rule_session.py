"""A rule strategy over bars of seconds, and what runs it on a practice broker with a clock of its own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from practice_fixtures import PracticeProcess

from core.clock import LiveClock
from core.domain import BarKind, OrderRequest
from core.settings import OandaSettings
from trading.brokers.oanda import OandaBroker
from trading.config import TraderConfig
from trading.feeds.live import LiveFeed
from trading.loop import TradingLoop
from trading.oms.identity import client_order_id
from trading.status import StatusServer
from trading.steps import Step
from trading.strategy.decide import Decision
from trading.strategy.interface import Portfolio
from trading.summary import SessionSummary
from trading.trader import run_trader

PAIRS = ("EUR_USD", "USD_JPY")
REAL_CLOCK = ("--clock", "real", "--seed", "4", "--instruments", ",".join(PAIRS), "--ticks-per-second", "20")


class Alternating:
    """Long at even steps, flat at odd ones, in every instrument: a rule without features or predictor.

    Args:
        strategy: names the decisions.
        names: instruments.
        units: of a long position.
        hold: stay long instead.
        goal: ``reached`` is set after so many steps.
        stop: distance of an attached stop, as a share of the price; 0 attaches none.
    """

    def __init__(
        self,
        strategy: str,
        names: Sequence[str] = PAIRS,
        units: int = 1000,
        stop: float = 0.0,
        hold: bool = False,
        goal: int = 0,
    ) -> None:
        self._strategy = strategy
        self._names = tuple(names)
        self._units = Decimal(units)
        self._stop = stop
        self._hold = hold
        self._goal = goal
        self.reached = asyncio.Event()
        self.steps = 0
        self.exits_only: list[Mapping[str, str]] = []
        self.finished = False

    @property
    def newest_ns(self) -> int:
        return 0

    def observe(self, step: Step) -> None:
        self.steps += 1
        if self.steps == self._goal:
            self.reached.set()

    async def prepare(self, step: Step) -> None: ...

    async def decide(self, step: Step, now_ns: int, portfolio: Portfolio) -> list[Decision]:
        self.exits_only.append(dict(portfolio.exits_only))
        return [self._decision(name, step, portfolio) for name in self._names]

    def _decision(self, name: str, step: Step, portfolio: Portfolio) -> Decision:
        decision_id = f"{self._strategy}:{name}:{step.time_ns}"
        held = portfolio.positions.get(name, Decimal(0))
        wanted = self._units if self._hold or self.steps % 2 == 1 else Decimal(0)
        quote = portfolio.quotes.get(name)
        if wanted > held and (name in portfolio.exits_only or quote is None):
            words = portfolio.exits_only.get(name, "no price")
            return Decision(name, decision_id, held, 0.0, held, f"exits only: {words}", None, "")
        stop = None
        if self._stop and quote is not None and wanted > held:
            stop = portfolio.instruments[name].round_price(quote.bid * (1.0 - self._stop))
        order = OrderRequest(
            client_order_id=client_order_id(decision_id),
            instrument=name,
            units=wanted - held,
            stop_loss_price=stop,
            decision_id=decision_id,
            strategy=self._strategy,
        )
        return Decision(name, decision_id, held, 0.0, wanted, "alternate", order if wanted != held else None, "")

    def volatilities(self) -> Mapping[str, float]:
        return {}

    def settle(self, step: Step, now_ns: int) -> None: ...

    def finish(self) -> None:
        self.finished = True


def rule_config(folder: Path, **changes: Any) -> TraderConfig:
    values: dict[str, Any] = {
        "session_id": "rules",
        "session_directory": folder / "session",
        "account_key": "practice:rules",
        "market": BarKind.BAR,
        "instruments": PAIRS,
        "strategy": "rules",
        "bar_seconds": 1,
        "step_timeout_seconds": 0.3,
        "follow_events": True,
        "simulated": True,
    }
    return TraderConfig(**(values | changes))


def process_settings(server: PracticeProcess, **changes: Any) -> OandaSettings:
    values: dict[str, Any] = {
        "rest_url": server.rest_url,
        "stream_url": server.stream_url,
        "token": server.token,
        "account_id": server.account_id,
        "request_timeout_seconds": 2.0,
    }
    return OandaSettings(**(values | changes))


async def trade_rules(
    config: TraderConfig,
    server: PracticeProcess,
    strategy: Alternating,
    started: Callable[[TradingLoop, StatusServer | None], None],
    database_url: str | None = None,
) -> SessionSummary:
    """Trade live until the loop is stopped by whoever was told of its start."""
    clock = LiveClock()
    broker = OandaBroker(process_settings(server), clock, settle_seconds=0.05)
    await broker.connect()
    try:
        feed = LiveFeed(broker, clock, config.instruments)
        return await run_trader(
            config,
            broker,
            None,
            clock,
            feed,
            database_url,
            handle_signals=False,
            started=started,
            strategy=lambda _desk, _degradation: strategy,
        )
    finally:
        await broker.close()
