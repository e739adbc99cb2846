"""The admin API: the lockstep clock, faults, halts, funds. Loopback only; no part of the v20 protocol."""

from decimal import Decimal

import msgspec

from core.clock import from_rfc3339, to_rfc3339
from trading.matching.commands import Halt, MoveFunds, RejectNext, SetLiquidity
from trading.matching.transactions import TransferFundsReject
from trading.practice.call import Call
from trading.practice.config import ClockMode
from trading.practice.faults import LINE_FAULTS, REQUEST_FAULTS, Fault, FaultKind
from trading.practice.replies import ProtocolError, Reply, invalid, message_of
from trading.practice.venue import Venue


class _Advance(msgspec.Struct, forbid_unknown_fields=True):
    to: str | None = None


class _Halt(msgspec.Struct, forbid_unknown_fields=True):
    halted: bool
    instruments: list[str] | None = None


class _Liquidity(msgspec.Struct, forbid_unknown_fields=True):
    units: Decimal | None = None


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
    last = made[-1]
    if isinstance(last, TransferFundsReject):
        body = {"transaction": last, "errorCode": last.reject_reason, "errorMessage": message_of(last.reject_reason)}
        return Reply(400, body)
    return Reply(200, {"transaction": last})


def liquidity(venue: Venue, call: Call) -> Reply:
    """Bound what each side of the coming quotes is good for; null: as the account was configured."""
    units = call.body(_Liquidity).units
    if units is not None and not (units.is_finite() and units >= 0):
        raise invalid("units")
    venue.apply(SetLiquidity(time_ns=venue.time_ns, units=units))
    return Reply(200, venue.state())


def add_fault(venue: Venue, call: Call) -> Reply:
    """Arm a fault; one without a probability that means open streams, the market or the next orders strikes at once."""
    fault = call.body(Fault)
    wrong = fault.problem()
    if wrong is None and fault.instrument and fault.instrument not in venue.exchange.instruments:
        wrong = "instrument"
    if wrong is not None:
        raise invalid(wrong)
    if fault.probability is not None or fault.kind in REQUEST_FAULTS | LINE_FAULTS:
        venue.faults.add(fault)
    else:
        venue.faults.count(fault.kind)
        if fault.kind is FaultKind.REJECT:
            venue.apply(RejectNext(time_ns=venue.time_ns, reason=fault.reason, count=fault.count or 1))
        elif fault.kind is FaultKind.HALT:
            venue.halt_for(fault)
        else:
            venue.streams.strike(fault.kind, fault.stream or "all", fault.seconds)
    return list_faults(venue, call)


def list_faults(venue: Venue, call: Call) -> Reply:
    """List the faults that still wait, and how often each kind has struck."""
    return Reply(200, venue.faults.shown())


def clear_faults(venue: Venue, call: Call) -> Reply:
    """Disarm everything, or the one fault whose ``id`` is given."""
    venue.faults.clear(call.number("id", least=1))
    return list_faults(venue, call)
