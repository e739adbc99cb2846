"""A paper exchange, a desk and a plan executor on a simulated clock, with replies that get lost and processes that die.

A death is in process: what the journal handed to the operating system stays, everything in memory is gone.
"""

import shutil
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import core.crash_points
from core.clock import NANOSECONDS, SimulatedClock, from_rfc3339
from core.domain import BrokerEvent, OrderFilled, OrderRequest, Quote, default_instrument
from core.errors import OutcomeUnknownError, UnavailableError
from core.journal import Journal
from trading import records
from trading.brokers.paper import PaperBroker
from trading.desk import Desk
from trading.execution.executor import PlanExecutor
from trading.execution.parameters import ExecutionParameters
from trading.latency import LatencyRecorder
from trading.matching.book import AccountConfiguration
from trading.metrics import TraderMetrics
from trading.oms.identity import client_order_id
from trading.risk.limits import RiskParameters
from trading.summary import SummaryCollector, read_state

START_NS = from_rfc3339("2024-03-05T10:00:00Z")
INSTRUMENTS = {"EUR_USD": default_instrument("EUR_USD")}
PIP = 0.0001


class LossyBroker(PaperBroker):
    """Loses what the test says: the request or the reply of the next submissions, cancellations and amendments."""

    faults: list[str]

    async def _lossy(self, request: Any) -> list[BrokerEvent]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "never_left":
            request.close()
            raise UnavailableError("no connection: nothing was sent")
        if fault == "request_lost":
            request.close()
            raise OutcomeUnknownError("no reply")
        if fault == "refused":
            self.exchange.book.reject_reasons.append("MARKET_HALTED")
        events = await request
        if fault == "reply_lost":
            raise OutcomeUnknownError("no reply")
        return events

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]:
        return await self._lossy(super().submit(order))

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]:
        return await self._lossy(super().cancel(client_order_id))

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]:
        return await self._lossy(super().amend(client_order_id, replacement))


class KilledError(BaseException):
    """The process died here. No handler of the trader may survive it."""


class ExecutionMarket:
    """One session on one account. ``restart`` is a new process on the journal as the disk holds it."""

    def __init__(self, folder: Path, parameters: ExecutionParameters, liquidity: int = 10_000_000) -> None:
        self.folder = folder
        self.parameters = parameters
        self.clock = SimulatedClock(START_NS)
        self.paper = LossyBroker(INSTRUMENTS, self.clock, AccountConfiguration(liquidity=Decimal(liquidity)))
        self.paper.faults = []
        self.lives = 0
        self.tick(1.1, 1.1001, 0.0)

    async def begin(self) -> "ExecutionMarket":
        self._wire()
        self.desk.commit(
            records.SessionOpened(
                session_id="plans",
                config_digest="",
                strategy="s",
                broker="paper",
                account_key="paper:test",
                instruments=tuple(INSTRUMENTS),
                account=await self.paper.account(),
                positions=(),
                resumed=False,
                simulated=True,
            )
        )
        return self

    async def restart(self) -> None:
        """Die (what was not handed to the operating system is lost), come back, reconcile, resume."""
        before = self.directory
        self.lives += 1
        shutil.copytree(before, self.directory)
        self.journal.close()
        self._wire()
        await self.desk.resolve_uncertain()
        await self.executor.resume()

    @property
    def directory(self) -> Path:
        return self.folder / f"journal-{self.lives}"

    def _wire(self) -> None:
        state, _ = read_state(self.directory, SummaryCollector("USD"))
        self.journal = Journal(self.directory, group_commit_seconds=10.0)
        self.desk = Desk(
            self.paper,
            self.journal,
            self.clock,
            state,
            INSTRUMENTS,
            RiskParameters(maximum_order_units=1e6, maximum_orders_per_minute=10_000),
            "USD",
            LatencyRecorder(),
            TraderMetrics(),
        )
        self.desk.quotes["EUR_USD"] = self.quote
        self.executor = PlanExecutor(self.parameters, self.desk, self.clock, INSTRUMENTS)

    def tick(self, bid: float, ask: float, seconds: float = 1.0) -> None:
        """Move time and the market; the trader does not look yet."""
        self.clock.advance_to(self.clock.time_ns() + round(seconds * NANOSECONDS))
        now = self.clock.time_ns()
        self.quote = Quote("EUR_USD", now, now, round(bid, 5), round(ask, 5), simulated=True)
        self.paper.on_quote(self.quote)

    async def look(self) -> None:
        """What the loop does with an event: the quote, what the broker did, what is due."""
        self.desk.quotes["EUR_USD"] = self.quote
        await self.desk.catch_up()
        if self.desk.state.book.uncertain():
            await self.desk.resolve_uncertain()
        self.executor.on_event(self.quote)
        await self.executor.run_due()

    async def run(self, seconds: int, bid: float = 1.1, ask: float = 1.1001) -> None:
        for _ in range(seconds):
            self.tick(bid, ask)
            await self.look()

    def order(self, units: int, number: int = 1, **fields: Any) -> OrderRequest:
        decision = f"s:EUR_USD:{number}"
        return OrderRequest(
            client_order_id(decision), "EUR_USD", Decimal(units), decision_id=decision, strategy="s", **fields
        )

    # -- the broker's truth ------------------------------------------------------------------------------------

    @property
    def fills(self) -> list[tuple[str, Decimal, Decimal]]:
        events = [event.fill for event in self.paper._events if isinstance(event, OrderFilled)]
        return [(fill.client_order_id, fill.units, fill.price) for fill in events]

    @property
    def executed(self) -> Decimal:
        return sum((units for _, units, _ in self.fills), Decimal(0))

    def resting(self) -> list[str]:
        """Client ids of limit orders at the broker."""
        orders = self.paper.exchange.log.pending.get("EUR_USD", {}).values()
        return [order.client_extensions.id for order in orders if order.type == "LIMIT" and order.client_extensions]

    def ended(self) -> list[records.PlanEnded]:
        """Ends of plans, as the journal of this life holds them."""
        from core.journal import read_entries

        self.desk.flush()
        found = [records.decode(entry) for entry in read_entries(self.directory)]
        return [record for record in found if isinstance(record, records.PlanEnded)]


class Guillotine:
    """Kills the session at the n-th crash point it passes."""

    def __init__(self, monkeypatch: Any) -> None:
        self.left = 0
        self.only = ""  # count this place alone
        self.passed: list[str] = []
        monkeypatch.setattr(core.crash_points, "_armed", self)
        monkeypatch.setattr(core.crash_points, "_strike", self.strike)

    def strike(self, _armed: Any, name: str) -> None:
        assert name in core.crash_points.CRASH_POINTS
        self.passed.append(name)
        if self.left > 0 and self.only in ("", name) and threading.current_thread() is threading.main_thread():
            self.left -= 1
            if self.left == 0:
                raise KilledError(name)
