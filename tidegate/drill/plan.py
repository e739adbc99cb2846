"""What one seed does: a pure function of the seed, so that a failure can be repeated.

Crash points are covered in rotation: seed ``s`` takes the next two of the list, whatever else it draws.
"""

import random
from enum import StrEnum
from typing import Any

import msgspec

from core.crash_points import TRADER_POINTS

STEPS = 24  # minutes of market in one session
LIVE_SPEED = 480.0


class Style(StrEnum):
    """How orders are worked in a session."""

    MARKET = "market"
    BRACKET = "bracket"  # market orders with stop, target and trailing stop near enough to be filled
    TWAP = "twap"  # a plan of marketable parts
    PASSIVE = "passive"  # a plan of limit orders that follow the touch: amended, cancelled, crossed


class Database(StrEnum):
    """Where the ledger lies."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Need(StrEnum):
    """What a crash point is reached by."""

    NOTHING = "nothing"
    LOST_REPLY = "lost_reply"
    RESTART = "restart"
    SMALL_SEGMENTS = "small_segments"
    PLAN = "plan"
    PASSIVE = "passive"
    KILL_SWITCH = "kill_switch"


class Place(msgspec.Struct, frozen=True):
    """How deep into a life a crash point is struck at most, and what it needs."""

    most: int
    need: Need = Need.NOTHING


# Passing counts of one life; a point that is not here is struck at its first to third passing.
PLACES: dict[str, Place] = {
    "session.opened": Place(1),
    "recovery.reconciled": Place(1, Need.RESTART),
    "quote.noted": Place(90),
    "step.closed": Place(4),
    "step.predicted": Place(4),
    "step.decided": Place(4),
    "step.done": Place(4),
    "order.checked": Place(6),
    "order.written": Place(6),
    "order.replied": Place(6),
    "order.applied": Place(6),
    "order.unknown": Place(1, Need.LOST_REPLY),
    "cancel.written": Place(2, Need.PASSIVE),
    "cancel.replied": Place(2, Need.PASSIVE),
    "amend.written": Place(2, Need.PASSIVE),
    "amend.replied": Place(2, Need.PASSIVE),
    "event.written": Place(8),
    "catch_up.fetched": Place(4),
    "catch_up.applied": Place(4),
    "plan.started": Place(5, Need.PLAN),
    "plan.ended": Place(4, Need.PLAN),
    "kill_switch.written": Place(1, Need.KILL_SWITCH),
    "kill_switch.cancelled": Place(1, Need.KILL_SWITCH),
    "reconcile.compared": Place(1, Need.RESTART),
    "journal.buffered": Place(8),
    "journal.written": Place(8),
    "journal.rotated": Place(2, Need.SMALL_SEGMENTS),
    "ledger.before_commit": Place(3),
    "ledger.committed": Place(3),
    "features.saved": Place(1),
    "features.replaced": Place(1),
}
_DEFAULT = Place(3)
SMALL_SEGMENT_BYTES = 16 * 1024
LARGE_SEGMENT_BYTES = 1024 * 1024


class LifePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One life of the trader and what happens around it."""

    crash_point: str = ""  # NAME:N
    kill_after: float = 0.0  # seconds of the process; 0: no random kill
    faults: tuple[dict[str, Any], ...] = ()  # bodies for the broker's admin API
    tear: bool = False  # the journal's end is torn after the kill
    restart_broker: bool = False  # after the kill
    database_down: bool = False
    switch_on: str = ""  # "stop" or "flatten": the kill switch is turned on a moment after trading began
    switch_off: bool = False  # the kill switch is turned off before the process starts


class SeedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a seed decides."""

    seed: int
    style: Style
    database: Database
    steps: int
    keeps_broker_state: bool
    segment_bytes: int
    speed: float  # 0: lockstep; else market seconds in one of the machine's, real streams followed
    cold_end: bool  # the last life begins in a fresh interpreter instead of a fork
    lives: tuple[LifePlan, ...]  # each ends in a kill; after them one undisturbed life ends the session


def make_plan(
    seed: int, points: tuple[str, ...] = tuple(TRADER_POINTS), steps: int = STEPS, deepest: int = 100
) -> SeedPlan:
    """Return what a seed does.

    Args:
        seed: any integer from 0.
        points: the crash points to strike, in rotation.
        steps: length of the session.
        deepest: at which passing of a point it is struck at most.
    """
    chance = random.Random(seed * 7919 + 17)
    names = [points[(2 * seed + number) % len(points)] for number in range(min(2, len(points)))]
    needs = {_place(name).need for name in names}
    style = chance.choice(tuple(Style))
    if Need.PASSIVE in needs:
        style = Style.PASSIVE
    elif Need.PLAN in needs and style in (Style.MARKET, Style.BRACKET):
        style = Style.TWAP
    lives: list[LifePlan] = []
    switched = False
    for name in sorted(names, key=lambda name: _place(name).need is Need.RESTART):
        if _place(name).need is Need.RESTART and not lives:
            lives.append(_random_kill(chance))
        lives += _struck(name, chance, deepest, switch_off=switched)
        switched = _place(name).need is Need.KILL_SWITCH
    for _ in range(chance.choice((0, 1, 1, 2))):
        lives.append(msgspec.structs.replace(_random_kill(chance), switch_off=switched))
        switched = False
    if chance.random() < 0.2:  # struck again while it recovers
        lives.insert(1, LifePlan(kill_after=chance.uniform(0.01, 0.12)))
    restarts = chance.random() < 0.3
    lives = [_surrounded(life, chance, restarts) for life in lives]
    small = Need.SMALL_SEGMENTS in needs or chance.random() < 0.1
    return SeedPlan(
        seed=seed,
        style=style,
        database=Database.POSTGRES if seed % 8 == 5 else Database.SQLITE,
        steps=steps,
        keeps_broker_state=restarts,
        segment_bytes=SMALL_SEGMENT_BYTES if small else LARGE_SEGMENT_BYTES,
        speed=LIVE_SPEED if seed % 6 == 4 else 0.0,
        cold_end=seed % 20 == 3,
        lives=tuple(lives),
    )


def _place(name: str) -> Place:
    return PLACES.get(name, _DEFAULT)


def _struck(name: str, chance: random.Random, deepest: int, switch_off: bool) -> list[LifePlan]:
    """Return the life that is struck at a place, and for the kill switch one that is killed while it carries on."""
    place = _place(name)
    point = f"{name}:{min(chance.randint(1, place.most), deepest)}"
    if place.need is Need.KILL_SWITCH:
        switch = chance.choice(("stop", "flatten"))
        first = LifePlan(crash_point=point, switch_on=switch, switch_off=switch_off)
        return [first, LifePlan(kill_after=chance.uniform(0.05, 0.4))]
    faults: tuple[dict[str, Any], ...] = ()
    if place.need is Need.LOST_REPLY:
        faults = ({"kind": "lose_reply", "method": "POST", "path": "/orders", "count": 1},)
    return [LifePlan(crash_point=point, faults=faults, switch_off=switch_off)]


def _random_kill(chance: random.Random) -> LifePlan:
    return LifePlan(kill_after=chance.uniform(0.02, 0.6))


def _surrounded(life: LifePlan, chance: random.Random, restarts: bool) -> LifePlan:
    """Add what goes wrong around a life."""
    faults = [*life.faults, *(_fault(chance) for _ in range(chance.choice((0, 0, 1, 1, 2, 3))))]
    return msgspec.structs.replace(
        life,
        faults=tuple(faults),
        tear=chance.random() < 0.2,
        restart_broker=restarts and chance.random() < 0.5,
        database_down=chance.random() < 0.1,
    )


_READS = ("/transactions", "/summary", "/openPositions", "/pendingOrders", "/openTrades", "/instruments")


def _fault(chance: random.Random) -> dict[str, Any]:
    """Draw one fault for the broker's admin API."""
    draw = chance.randrange(18)
    order = {"method": "POST", "path": "/orders"}
    read = {"method": "GET", "path": chance.choice(_READS)}
    match draw:
        case 0 | 1:
            return {"kind": "lose_reply", "count": chance.randint(1, 2), **order}
        case 2:
            return {"kind": "lose_request", "count": chance.randint(1, 2), **order}
        case 3:
            return {"kind": "delay_reply", "seconds": chance.choice((0.05, 0.7)), **order}
        case 4:
            return {"kind": "error", "status": chance.choice((500, 502, 503, 504)), **order}
        case 5:
            return {"kind": "error", "status": 429, **order}
        case 6:
            return {"kind": "reject", "reason": "INSUFFICIENT_MARGIN"}
        case 7:
            return {"kind": "lose_reply", "count": chance.randint(1, 3), **read}
        case 8:
            return {"kind": "error", "status": chance.choice((429, 500, 503)), **read}
        case 9:
            return {"kind": "delay_reply", "seconds": chance.choice((0.05, 0.7)), **read}
        case 10:
            return {"kind": "duplicate_request", "count": 2, **read}
        case 11:
            return {"kind": "drop_stream", "stream": "pricing"}
        case 12:
            return {"kind": "stall_stream", "seconds": 0.2}
        case 13:
            return {"kind": "delay_request", "seconds": 0.1, **order}
        case 14:
            return {"kind": "reorder_replies", "hold": 1, **read}
        case 15:
            return {"kind": "malformed_line", "stream": "pricing"}
        case 16:
            return {"kind": "gap_stream", "stream": "transactions", "count": 2}
        case _:
            return {"kind": "duplicate_event", "count": 3}
