"""What an execution algorithm promises: a plan, written to the journal before its first order leaves."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from core.domain import OrderRequest


class Algorithm(StrEnum):
    """How a decision's order is worked off."""

    IMMEDIATE = "immediate"  # one order at once: no plan
    TWAP = "twap"
    VWAP = "vwap"
    IMPLEMENTATION_SHORTFALL = "implementation_shortfall"


class PlanOutcome(StrEnum):
    """How a plan ended."""

    COMPLETE = "complete"
    EXPIRED = "expired"  # its time limit came first
    SUPERSEDED = "superseded"  # a newer decision wants something else
    STOPPED = "stopped"  # kill switch, a lost model, a person
    REFUSED = "refused"  # risk or the broker would not let it go on


class Slice(msgspec.Struct, frozen=True):
    """From ``time_ns`` on that many units (signed, counted from the plan's start) may be executed.

    A slice lasts until the next one, the last until the plan's end; what is missing of it goes out as one child.
    """

    time_ns: int
    cumulative_units: Decimal


class ExecutionPlan(msgspec.Struct, frozen=True):
    """The schedule of one decision's order.

    Child number ``leg`` (from 1) has the client order id ``client_order_id(decision_id, leg)``: what was sent of a plan
    is read from the order book, so a plan resumes after a crash where it stood.
    """

    parent: OrderRequest  # what the decision asked for; ``parent.client_order_id`` names the plan
    algorithm: Algorithm
    start_ns: int
    end_ns: int  # the time limit: nothing is sent after it
    slices: tuple[Slice, ...]
    price_limit: Decimal | None = None  # worst quoted price at which a child may go out
    maximum_participation: float | None = None  # share of the market's ticks or volume since the last child
    arrival_mid: Decimal | None = None  # middle price when the plan was made: what its executions are measured against
    expected_cost_pips: float | None = None  # per unit against the arrival middle, as the schedule's model has it

    @property
    def plan_id(self) -> str:
        """The client order id of the parent."""
        return self.parent.client_order_id
