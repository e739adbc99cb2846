"""Faults on purpose, set through the admin API: what a network and a broker do to a client on a bad day.

One fault strikes ``count`` requests (or streams) that match ``method`` and ``path`` (a part of it).
"""

from enum import StrEnum
from typing import Literal

import msgspec


class FaultKind(StrEnum):
    """What goes wrong."""

    LOSE_REQUEST = "lose_request"  # the connection breaks before anything is done
    LOSE_REPLY = "lose_reply"  # it is done, then the connection breaks
    DELAY_REPLY = "delay_reply"  # it is done, the reply comes ``seconds`` later
    DUPLICATE_REQUEST = "duplicate_request"  # it is carried out twice, the second reply is given
    ERROR = "error"  # nothing is done, the reply has ``status``
    REJECT = "reject"  # the next orders are cancelled with ``reason``
    DUPLICATE_EVENT = "duplicate_event"  # the next transaction lines are sent twice
    DROP_STREAM = "drop_stream"  # open streams break
    STALL_STREAM = "stall_stream"  # open streams fall silent for ``seconds``


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One fault as the admin API takes it."""

    kind: FaultKind
    count: int = 1
    method: str = ""
    path: str = ""
    seconds: float = 0.0
    status: int = 503
    reason: str = "INSUFFICIENT_MARGIN"
    stream: Literal["pricing", "transactions", "all"] = "all"

    def strikes(self, method: str, path: str) -> bool:
        """Return whether a request is meant."""
        return self.count > 0 and self.method in ("", method) and self.path in path


class Faults:
    """The faults that wait for their request."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Arm a fault."""
        self.waiting.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault that strikes this request, counting it down."""
        for fault in self.waiting:
            if fault.strikes(method, path):
                fault.count -= 1
                if not fault.count:
                    self.waiting.remove(fault)
                return fault
        return None
