"""A day of market in minutes: real streams on an accelerated clock, every kind of fault by chance, kills at random.

Trader and broker are killed again and again, the kill switch is turned on and off once, the ledger's database goes
away now and then; at the end the session is closed and judged by the same checker as the kill drill's.
"""

import contextlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from core.clock import from_rfc3339
from core.errors import TidegateError
from tidegate.drill.market import BAR_SECONDS, START_NS
from tidegate.drill.plan import Database, LifePlan, SeedPlan, Style
from tidegate.drill.session import SeedResult, SeedSession, Surroundings

_SWITCH_ON, _SWITCH_OFF = 0.40, 0.45  # shares of the day
_SEGMENT_BYTES = 4 * 1024 * 1024
_CALM = 0.02  # last share of the day, in which nothing is disturbed: the end itself is not what is drilled


class DayOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A day to run."""

    seed: int
    hours: float
    speed: float
    style: str
    kills_per_hour: float  # of market time


class DayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    result: SeedResult
    hours: float
    speed: float
    kills: int
    broker_kills: int
    database_outages: int
    switch_turned: int  # 2: on and off
    faults: dict[str, int]  # how often each kind struck


def standing_faults(seed: int) -> list[dict[str, Any]]:
    """Return every kind of fault with its probability, as the broker's admin API takes them."""
    order = {"method": "POST", "path": "/orders"}
    change = {"method": "PUT", "path": "/orders"}
    read = {"method": "GET", "path": "/v3/accounts"}
    faults: list[dict[str, Any]] = [
        {"kind": "lose_request", "probability": 0.01, **order},
        {"kind": "lose_reply", "probability": 0.02, **order},
        {"kind": "delay_reply", "probability": 0.01, "seconds": 0.7, **order},
        {"kind": "delay_request", "probability": 0.01, "seconds": 0.1, **order},
        {"kind": "error", "probability": 0.01, "status": 503, **order},
        {"kind": "lose_request", "probability": 0.01, **change},
        {"kind": "lose_reply", "probability": 0.02, **change},
        {"kind": "error", "probability": 0.01, "status": 502, **change},
        {"kind": "lose_reply", "probability": 0.01, **read},
        {"kind": "error", "probability": 0.01, "status": 500, **read},
        {"kind": "rate_limit", "probability": 0.002, "seconds": 1.0, **read},
        {"kind": "reorder_replies", "probability": 0.01, **read},
        {"kind": "duplicate_request", "probability": 0.01, **read},
        {"kind": "reject", "probability": 0.01, "reason": "INSUFFICIENT_MARGIN"},
        {"kind": "duplicate_event", "probability": 0.05},
        {"kind": "gap_stream", "probability": 0.01, "stream": "transactions"},
        {"kind": "gap_stream", "probability": 0.002, "stream": "pricing"},
        {"kind": "malformed_line", "probability": 0.001},
        {"kind": "drop_stream", "probability": 0.0005},
        {"kind": "stall_stream", "probability": 0.0005, "seconds": 0.3},
        {"kind": "halt", "probability": 0.0002, "seconds": 120.0},
    ]
    return [fault | {"seed": seed + number} for number, fault in enumerate(faults)]


class DaySession(SeedSession):
    """Runs the day in a folder."""

    def __init__(self, order: DayOrder, folder: Path, surroundings: Surroundings) -> None:
        steps = round(order.hours * 3600 / BAR_SECONDS)
        plan = SeedPlan(
            seed=order.seed,
            style=Style(order.style),
            database=Database.POSTGRES,
            steps=steps,
            keeps_broker_state=True,
            segment_bytes=_SEGMENT_BYTES,
            speed=order.speed,
            cold_end=True,
            lives=(),
        )
        super().__init__(plan, folder, surroundings)
        self._order = order
        self._draws = random.Random(order.seed)
        self._struck: Counter[str] = Counter()
        self._end_ns = START_NS + round(order.hours * 3600e9)
        self._outages = 0
        self._switched = 0  # how often the kill switch was turned

    def _start_broker(self) -> None:
        super()._start_broker()
        for fault in standing_faults(self._draws.randrange(1 << 30)):
            self._pages.request("POST", "/admin/faults", fault)

    def _stop_broker(self) -> None:
        with contextlib.suppress(TidegateError):
            if self._broker_pid:
                self._struck.update(self._pages.request("GET", "/admin/faults")["struck"])
        super()._stop_broker()

    def _after_kill(self, life: LifePlan) -> None:
        super()._after_kill(life)
        if not life.restart_broker:  # the faults were cleared for the checker
            for fault in standing_faults(self._draws.randrange(1 << 30)):
                self._pages.request("POST", "/admin/faults", fault)

    def _lives_of_plan(self) -> None:
        """Kill and restart until the day is nearly over."""
        pause = 3600.0 / self._order.kills_per_hour / self._order.speed
        while not self._problems:
            share = 1.0 - (self._end_ns - self._market_ns()) / (self._order.hours * 3600e9)
            if share >= 1.0 - _CALM:
                return
            draw = self._draws
            down = draw.random() < 0.1
            self._outages += down
            on = self._switched == 0 and share >= _SWITCH_ON
            off = self._switched == 1 and share >= _SWITCH_OFF
            self._switched += on or off
            outcome = self._live(
                LifePlan(
                    kill_after=max(0.2, draw.expovariate(1.0 / pause)),
                    tear=draw.random() < 0.2,
                    restart_broker=draw.random() < 0.25,
                    database_down=down,
                    switch_on="flatten" if on else "",
                    switch_off=off,
                )
            )
            if outcome == "ended":
                return

    def _market_ns(self) -> int:
        return from_rfc3339(str(self._pages.request("GET", "/admin/state")["time"]))

    def day(self) -> DayResult:
        """Run the day to its verdict."""
        result = self.run()
        outcomes = Counter(life.outcome for life in result.lives)
        return DayResult(
            result=result,
            hours=self._order.hours,
            speed=self._order.speed,
            kills=outcomes["killed"],
            broker_kills=result.broker_restarts,
            database_outages=self._outages,
            switch_turned=self._switched,
            faults=dict(sorted(self._struck.items())),
        )
