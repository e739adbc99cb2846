"""The admin API: the lockstep clock, faults, halts, funds. Loopback only; no part of the v20 protocol."""

from decimal import Decimal

import msgspec

from core.clock import from_rfc3339, to_rfc3339
from trading.matching.commands import Halt, MoveFunds, RejectNext
from trading.practice.call import Call
from trading.practice.config import ClockMode
from trading.practice.faults import Fault, FaultKind, Faults
from trading.practice.replies import ProtocolError, Reply, invalid
from trading.practice.venue import Venue


class _Advance(msgspec.Struct, forbid_unknown_fields=True):
    to: str | None = None


class _Halt(msgspec.Struct, forbid_unknown_fields=True):
    halted: bool
    instruments: list[str] | None = None


class _Funds(msgspec.Struct, forbid_unknown_fields=True):
    amount: Decimal


def advance(venue: Venue, call: Call) -> Reply:
    """Move the lockstep clock by one step, or to a time."""
    if venue.config.clock is not ClockMode.LOCKSTEP:
        raise ProtocolError(400, f"The clock runs by itself ({venue.config.clock}); start with --clock lockstep")
    wanted = call.body(_Advance).to
    to_ns: int | None = None
    if wanted is not None:
        try:
            to_ns = from_rfc3339(wanted)
        except ValueError:
            raise invalid("to") from None
        if to_ns < venue.time_ns:
            raise ProtocolError(400, f"The clock stands at {to_rfc3339(venue.time_ns)}; time never runs back")
    done = venue.advance(to_ns)
    body = {
        "time": to_rfc3339(done.time_ns),
        "ticks": done.ticks,
        "lastTransactionID": venue.exchange.log.last_id,
        "end": done.end,
    }
    return Reply(200, body)


def state(venue: Venue, call: Call) -> Reply:
    """Say where the venue stands."""
    return Reply(200, venue.state())


def halt(venue: Venue, call: Call) -> Reply:
    """Halt or resume trading in some instruments, or in all."""
    wanted = call.body(_Halt)
    names = sorted(venue.exchange.instruments) if wanted.instruments is None else wanted.instruments
    if any(name not in venue.exchange.instruments for name in names):
        raise invalid("instruments")
    for name in names:
        venue.apply(Halt(time_ns=venue.time_ns, instrument=name, halted=wanted.halted))
        venue.republish(name)
    return Reply(200, venue.state())


def funds(venue: Venue, call: Call) -> Reply:
    """Move money in or out."""
    made = venue.apply(MoveFunds(time_ns=venue.time_ns, amount=call.body(_Funds).amount))
    return Reply(200, {"transaction": made[-1]})


class FaultDesk:
    """The endpoints that set faults."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def add(self, venue: Venue, call: Call) -> Reply:
        """Arm a fault, or strike open streams at once."""
        fault = call.body(Fault)
        if fault.count < 1:
            raise invalid("count")
        match fault.kind:
            case FaultKind.REJECT:
                venue.apply(RejectNext(time_ns=venue.time_ns, reason=fault.reason, count=fault.count))
            case FaultKind.DUPLICATE_EVENT:
                venue.streams.duplicate_events += fault.count
            case FaultKind.DROP_STREAM | FaultKind.STALL_STREAM:
                for subscriber in venue.streams.subscribers:
                    if fault.stream in ("all", subscriber.kind):
                        if fault.kind is FaultKind.DROP_STREAM:
                            subscriber.drop()
                        else:
                            subscriber.stall(fault.seconds)
            case _:
                self.faults.add(fault)
        return self.listed(venue, call)

    def listed(self, venue: Venue, call: Call) -> Reply:
        """List the faults that still wait."""
        return Reply(200, {"faults": self.faults.waiting})

    def clear(self, venue: Venue, call: Call) -> Reply:
        """Disarm everything."""
        self.faults.waiting.clear()
        venue.streams.duplicate_events = 0
        return self.listed(venue, call)
