"""Faults on purpose, set through the admin API: what a network and a broker do to a client on a bad day.

A fault strikes the next ``count`` occasions that match it, or, with a ``probability``, each matching occasion by chance
drawn from its own seeded generator: the same faults, armed in the same order, strike the same occasions again whenever
requests and lines come in the same order. An occasion is a request (``method``, and ``path`` as a part of the path), an
order, a line of a stream, or a move of the market clock (``halt``).
"""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from random import Random
from typing import Any, Literal

import msgspec


class FaultKind(StrEnum):
    """What goes wrong."""

    LOSE_REQUEST = "lose_request"  # the connection breaks before anything is done
    LOSE_REPLY = "lose_reply"  # it is done, then the connection breaks
    DELAY_REQUEST = "delay_request"  # it is done ``seconds`` later, so others may overtake it
    DELAY_REPLY = "delay_reply"  # it is done, the reply comes ``seconds`` later
    REORDER_REPLIES = "reorder_replies"  # it is done, the reply comes after those of the next ``hold`` requests
    DUPLICATE_REQUEST = "duplicate_request"  # it is carried out twice, the second reply is given
    ERROR = "error"  # nothing is done, the reply has ``status``
    RATE_LIMIT = "rate_limit"  # nothing is done, the reply is 429 with Retry-After: ``seconds`` (at least 1)
    REJECT = "reject"  # the next orders are cancelled with ``reason``
    DUPLICATE_EVENT = "duplicate_event"  # lines are sent twice (transactions unless ``stream`` says otherwise)
    GAP_STREAM = "gap_stream"  # lines are swallowed, the stream stays open
    MALFORMED_LINE = "malformed_line"  # half of the line arrives, and it ends there
    DROP_STREAM = "drop_stream"  # open streams break
    STALL_STREAM = "stall_stream"  # open streams fall silent for ``seconds``
    HALT = "halt"  # ``instrument`` (each, if not named) cannot be traded for ``seconds`` of market time


REQUEST_FAULTS = frozenset(
    {
        FaultKind.LOSE_REQUEST,
        FaultKind.LOSE_REPLY,
        FaultKind.DELAY_REQUEST,
        FaultKind.DELAY_REPLY,
        FaultKind.REORDER_REPLIES,
        FaultKind.DUPLICATE_REQUEST,
        FaultKind.ERROR,
        FaultKind.RATE_LIMIT,
    }
)
_OPENING_FAULTS = REQUEST_FAULTS - {FaultKind.REORDER_REPLIES, FaultKind.DUPLICATE_REQUEST}
LINE_FAULTS = frozenset({FaultKind.DUPLICATE_EVENT, FaultKind.GAP_STREAM, FaultKind.MALFORMED_LINE})
BREAK_FAULTS = frozenset({FaultKind.DROP_STREAM, FaultKind.STALL_STREAM})
StreamName = Literal["pricing", "transactions", "all"]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault as the admin API takes it. Without ``count``: once, or without end if there is a ``probability``."""

    kind: FaultKind
    count: int | None = None
    probability: float | None = None
    seed: int = 0
    method: str = ""
    path: str = ""
    seconds: float = 0.0
    hold: int = 1
    status: int = 503
    reason: str = "INSUFFICIENT_MARGIN"
    stream: StreamName | None = None  # None: every stream; of duplicate_event: the transaction streams
    instrument: str = ""

    def problem(self) -> str | None:
        """Return the field that makes no sense, None if all do."""
        if self.count is not None and self.count < 1:
            return "count"
        if self.probability is not None and not 0 < self.probability <= 1:
            return "probability"
        if not 0 <= self.seconds < 1e6:
            return "seconds"
        if self.hold < 1:
            return "hold"
        return None if 400 <= self.status < 600 else "status"

    def concerns(self, stream: str) -> bool:
        """Return whether a stream, ``pricing`` or ``transactions``, is meant."""
        wanted = self.stream or ("transactions" if self.kind is FaultKind.DUPLICATE_EVENT else "all")
        return wanted in ("all", stream)


class ArmedFault:
    """A fault that waits, with its own generator and counters."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self.struck = 0
        self.left = fault.count if fault.count is not None or fault.probability is not None else 1
        self._random = Random(fault.seed)

    def strikes(self) -> bool:
        """Draw for a matching occasion. One number is drawn for each occasion, whatever other faults do to it."""
        probability = self.fault.probability
        return probability is None or self._random.random() < probability

    def shown(self) -> dict[str, Any]:
        """Return it as the admin API lists it."""
        body = msgspec.to_builtins(self.fault)
        return {"id": self.number} | body | {"struck": self.struck, "left": self.left}


class Faults:
    """The faults that wait for their occasion, and how often each kind has struck."""

    def __init__(self) -> None:
        self.armed: list[ArmedFault] = []
        self.struck: Counter[str] = Counter()
        self._numbers = 0

    def add(self, fault: Fault) -> None:
        """Arm a fault."""
        self._numbers += 1
        self.armed.append(ArmedFault(self._numbers, fault))

    def clear(self, number: int | None = None) -> None:
        """Disarm one fault, or all. What has struck stays counted."""
        self.armed = [item for item in self.armed if number is not None and item.number != number]

    def count(self, kind: FaultKind) -> None:
        """Count a strike of a fault that never waited."""
        self.struck[str(kind)] += 1

    def for_request(self, method: str, path: str, streaming: bool = False) -> Fault | None:
        """Return the first fault that strikes this request; ``streaming``: it opens a stream."""
        kinds = _OPENING_FAULTS if streaming else REQUEST_FAULTS
        return self._take(
            item
            for item in list(self.armed)
            if item.fault.kind in kinds and item.fault.method.upper() in ("", method) and item.fault.path in path
        )

    def for_line(self, stream: str) -> Fault | None:
        """Return the first fault that strikes this line of a stream, ``pricing`` or ``transactions``."""
        kinds = LINE_FAULTS | BREAK_FAULTS
        return self._take(item for item in list(self.armed) if item.fault.kind in kinds and item.fault.concerns(stream))

    def for_order(self) -> Fault | None:
        """Return a fault that strikes an order by chance."""
        return self._take(item for item in list(self.armed) if item.fault.kind is FaultKind.REJECT)

    def for_market(self) -> Fault | None:
        """Return a fault that strikes the market at this move of its clock."""
        return self._take(item for item in list(self.armed) if item.fault.kind is FaultKind.HALT)

    def _take(self, matching: Iterable[ArmedFault]) -> Fault | None:
        taken: ArmedFault | None = None
        for item in matching:
            if item.strikes() and taken is None:
                taken = item
        if taken is None:
            return None
        taken.struck += 1
        self.struck[str(taken.fault.kind)] += 1
        if taken.left is not None:
            taken.left -= 1
            if not taken.left:
                self.armed.remove(taken)
        return taken.fault

    def shown(self) -> dict[str, Any]:
        """Return what waits and what has struck."""
        return {"faults": [item.shown() for item in self.armed], "struck": dict(sorted(self.struck.items()))}
