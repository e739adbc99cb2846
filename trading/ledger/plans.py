"""The row of an execution plan: what was promised, how far it came, how it ended."""

from typing import Any

from trading import records
from trading.execution.progress import read_progress
from trading.oms.book import Order, OrderBook
from trading.oms.identity import client_order_id


class PlanHistory:
    """Every plan of a session, ended ones too: a fill may still arrive after the end."""

    def __init__(self) -> None:
        self._started: dict[str, records.PlanStarted] = {}
        self._ended: dict[str, records.PlanEnded] = {}

    def fold(self, record: records.PlanStarted | records.PlanEnded) -> str:
        """Take a record in; return the plan's id."""
        if isinstance(record, records.PlanStarted):
            self._started[record.plan.plan_id] = record
            return record.plan.plan_id
        self._ended[record.plan_id] = record
        return record.plan_id

    def plan_of(self, order: Order) -> str:
        """Return the id of the plan that sent an order; "" for none."""
        if order.request is None or not order.request.decision_id:
            return ""
        plan_id = client_order_id(order.request.decision_id)
        return plan_id if plan_id in self._started else ""

    def row(self, plan_id: str, book: OrderBook) -> dict[str, Any]:
        """Return the row of a plan that was started; executed units are those of the fills, whenever they came."""
        started, ended = self._started[plan_id], self._ended.get(plan_id)
        plan = started.plan
        progress = read_progress(book, plan)
        average = progress.average_price
        return {
            "plan_id": plan_id,
            "decision_id": plan.parent.decision_id,
            "instrument": plan.parent.instrument,
            "algorithm": plan.algorithm.value,
            "units": plan.parent.units,
            "slices": len(plan.slices),
            "children": progress.legs,
            "executed_units": progress.executed,
            "average_price": round(average, 10) if average is not None else None,
            "arrival_mid": plan.arrival_mid,
            "expected_cost_pips": plan.expected_cost_pips,
            "price_limit": plan.price_limit,
            "start_ns": plan.start_ns,
            "end_ns": plan.end_ns,
            "ended_ns": ended.time_ns if ended is not None else None,
            "outcome": ended.outcome.value if ended is not None else None,
            "words": ended.words if ended is not None else "",
        }
