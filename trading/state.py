"""The state of a session: a fold of its records. The live loop and a recovery go through this one ``apply``."""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from core.domain import (
    AccountChanged,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    Prediction,
)
from trading import records
from trading.calendar import trading_day
from trading.execution.plan import ExecutionPlan
from trading.oms.book import OrderBook
from trading.oms.positions import Closing, PositionBook
from trading.risk.limits import RiskState

_MINUTE = 60_000_000_000
# While one of these is missing no instrument gets more risk. Stale prices and lost predictions concern some instruments
# only and are looked at there; without a database or a transaction stream everything is in the journal and the history.
NO_NEW_RISK = ("broker", "clock", "disk", "orders", "price_stream")


class StepProgress:
    """How far the newest step came: what a restart has to finish."""

    def __init__(self, time_ns: int) -> None:
        self.time_ns = time_ns
        self.predictions: dict[str, Prediction] = {}
        self.decisions: list[records.DecisionMade] = []
        self.blocked: set[str] = set()
        self.done = False


class SessionState:
    """Orders, positions, balance, risk state and progress.

    Attributes:
        caught_up: transaction id up to which everything was seen.
        newest_transaction: the highest transaction id seen.
        seen: transaction ids above ``caught_up`` that were seen: the ones after a gap.
        balance: start balance plus every amount the broker booked since, added up here.
        stated_balance: the balance the broker wrote into its newest event.
        hedging: whether long and short trades of one instrument may coexist.
        closings: what the newest applied fill closed.
    """

    def __init__(self) -> None:
        self.opened = False
        self.closed = False
        self.config_digest = ""
        self.book = OrderBook()
        self.positions = PositionBook()
        self.balance = Decimal(0)
        self.start_balance = Decimal(0)
        self.stated_balance: Decimal | None = None
        self.hedging = False
        self.caught_up = 0
        self.newest_transaction = 0
        self.start_transaction = 0
        self.seen: set[int] = set()
        self.risk_state = RiskState.ACTIVE
        self.risk_reason = ""
        self.kill_switch: records.KillSwitchSet | None = None  # the newest setting; None before the first
        self.plans: dict[str, ExecutionPlan] = {}  # of the plans that are not ended, by plan id
        self.equity = 0.0
        self.day = 0
        self.day_start_equity = 0.0
        self.peak_equity = 0.0
        self.step: StepProgress | None = None
        self.steps = 0
        self.features_saved: records.FeaturesSaved | None = None
        self.degraded: dict[str, str] = {}
        self.closings: list[Closing] = []
        self._submitted_ns: deque[int] = deque()  # orders and amendments of the last minute, oldest first
        self._take: dict[type[records.Record], Callable[[Any], object]] = {
            records.StepClosed: self._step_closed,
            records.PredictionsMade: self._predictions_made,
            records.DecisionMade: self._decision_made,
            records.OrderBlocked: self._order_blocked,
            records.OrderSubmitted: self._order_submitted,
            records.OrderUnresolved: lambda r: self.book.unresolved(r.client_order_id, r.words),
            records.OrderNotSent: lambda r: self.book.not_sent(r.client_order_id, r.words),
            records.OrderResolved: lambda r: self.book.settle(r.client_order_id, r.state, r.words),
            records.CancelRequested: lambda r: self.book.request_cancel(r.client_order_id, r.reason),
            records.AmendRequested: self._amend_requested,
            records.OrdersListed: self._orders_listed,
            records.RequestFailed: lambda r: self.book.request_failed(r.client_order_id, r.what, r.words),
            records.BrokerSaid: self._broker_said,
            records.CaughtUp: self._caught_up,
            records.StepDone: self._step_done,
            records.StepMissed: self._step_missed,
            records.RiskStateChanged: self._risk_state_changed,
            records.KillSwitchSet: self._kill_switch_set,
            records.PlanStarted: self._plan_started,
            records.PlanEnded: self._plan_ended,
            records.FeaturesSaved: self._features_saved,
            records.Degraded: self._degraded,
            records.SessionOpened: self._session_opened,
            records.SessionClosed: self._session_closed,
        }

    @property
    def violations(self) -> list[str]:
        """What the broker said of orders that must never happen, and did."""
        return self.book.violations

    def is_new(self, transaction_id: int) -> bool:
        """Whether an event with this transaction id was not applied yet. 0 stands for no transaction."""
        return transaction_id == 0 or (transaction_id > self.caught_up and transaction_id not in self.seen)

    def day_changed(self, now_ns: int) -> bool:
        """Whether a new trading day began since the newest finished step."""
        return trading_day(now_ns) != self.day

    def no_new_risk(self) -> str:
        """Why the whole account may not get more risk, or nothing where it may."""
        degraded = self.degraded
        return "; ".join(degraded[what] for what in NO_NEW_RISK if what in degraded) if degraded else ""

    def orders_within_minute(self, now_ns: int) -> int:
        """How many orders and amendments went out in the last 60 seconds of the clock."""
        times = self._submitted_ns
        while times and times[0] <= now_ns - _MINUTE:
            times.popleft()
        return len(times)

    def apply(self, record: records.AnyRecord) -> None:
        """Take one record in. Quotes, heartbeats, account states and differences change nothing here.

        Raises:
            IntegrityError: one of our own records asks for an impossible order transition.
        """
        take = self._take.get(type(record))
        if take is not None:
            take(record)

    # -- steps ---------------------------------------------------------------------------------------------------

    def _step_closed(self, record: records.StepClosed) -> None:
        self.step = StepProgress(record.time_ns)
        self.steps += 1

    def _predictions_made(self, record: records.PredictionsMade) -> None:
        if self.step is not None:
            self.step.predictions = {p.instrument: p for p in record.predictions}

    def _decision_made(self, record: records.DecisionMade) -> None:
        if self.step is not None:
            self.step.decisions.append(record)

    def _order_blocked(self, record: records.OrderBlocked) -> None:
        if self.step is not None:
            self.step.blocked.add(record.client_order_id)

    def _step_done(self, record: records.StepDone) -> None:
        if self.step is not None and self.step.time_ns == record.time_ns:
            self.step.done = True
        day = trading_day(record.time_ns)
        if day != self.day:
            # The day's loss is counted from the last equity of the day before.
            self.day, self.day_start_equity = day, self.equity
        self.equity = record.equity
        self.peak_equity = max(self.peak_equity, record.equity)

    def _step_missed(self, _: records.StepMissed) -> None:
        if self.step is not None:
            self.step.done = True

    def _plan_ended(self, record: records.PlanEnded) -> None:
        self.plans.pop(record.plan_id, None)
        if self.step is not None:
            self.step.blocked.add(record.plan_id)  # finishing an interrupted step must not begin it again

    def _features_saved(self, record: records.FeaturesSaved) -> None:
        self.features_saved = record

    # -- the session and its risk --------------------------------------------------------------------------------

    def _session_opened(self, record: records.SessionOpened) -> None:
        self.closed = False
        self.config_digest = record.config_digest
        self.hedging = self.positions.hedging = record.account.hedging_enabled
        if self.opened:
            return
        self.opened = True
        self.start_balance = self.balance = record.account.balance
        self.caught_up = self.start_transaction = self.newest_transaction = record.account.last_transaction_id
        self.equity = self.day_start_equity = self.peak_equity = float(record.account.net_asset_value)
        self.day = trading_day(record.account.time_ns)
        for position in record.positions:
            self.positions.take_over(position, record.account.time_ns)

    def _session_closed(self, _: records.SessionClosed) -> None:
        self.closed = True

    def _risk_state_changed(self, record: records.RiskStateChanged) -> None:
        self.risk_state = record.state
        self.risk_reason = record.reason
        if record.by_hand:
            self.peak_equity = self.equity  # a person took note of the loss: drawdown counts anew

    def _kill_switch_set(self, record: records.KillSwitchSet) -> None:
        self.kill_switch = record

    def _plan_started(self, record: records.PlanStarted) -> None:
        self.plans[record.plan.plan_id] = record.plan

    def _degraded(self, record: records.Degraded) -> None:
        if record.over:
            self.degraded.pop(record.what, None)
        else:
            self.degraded[record.what] = record.words

    # -- orders and money ----------------------------------------------------------------------------------------

    def _order_submitted(self, record: records.OrderSubmitted) -> None:
        self.book.submit(record.order, record.time_ns, self.caught_up)
        self._count_order(record.time_ns)

    def _amend_requested(self, record: records.AmendRequested) -> None:
        self.book.request_amend(record.client_order_id, record.replacement, record.time_ns, self.caught_up)
        self._count_order(record.time_ns)

    def _orders_listed(self, record: records.OrdersListed) -> None:
        for order in record.unknown:
            self.book.listed(order, record.time_ns)

    def _count_order(self, time_ns: int) -> None:
        self.orders_within_minute(time_ns)  # so that what nobody asks for does not pile up
        self._submitted_ns.append(time_ns)

    def _broker_said(self, record: records.BrokerSaid) -> None:
        event = record.event
        if event.transaction_id:
            self._saw(event.transaction_id)
        match event:
            case OrderAccepted():
                self.book.accepted(event)
            case OrderCancelled():
                self.book.cancelled(event)
            case OrderRejected():
                self.book.rejected(event)
            case OrderFilled():
                fill = event.fill
                order = self.book.filled(event)
                self.closings = self.positions.apply(fill, order.parent_transaction, order.reduces)
                self.balance += fill.realised_profit + fill.financing - fill.commission
                self.stated_balance = fill.account_balance if fill.account_balance is not None else self.stated_balance
            case AccountChanged():
                self.balance += event.amount
                if event.account_balance is not None:
                    self.stated_balance = event.account_balance

    def _saw(self, number: int) -> None:
        self.newest_transaction = max(self.newest_transaction, number)
        if number == self.caught_up + 1:
            self.caught_up = number
            self._close_gap()
        elif number > self.caught_up:
            self.seen.add(number)

    def _caught_up(self, record: records.CaughtUp) -> None:
        if record.transaction_id > self.caught_up:
            self.caught_up = record.transaction_id
            self.newest_transaction = max(self.newest_transaction, self.caught_up)
            self.seen = {number for number in self.seen if number > self.caught_up}
            self._close_gap()

    def _close_gap(self) -> None:
        """Ids without a gap need not be remembered one by one."""
        while self.seen and self.caught_up + 1 in self.seen:
            self.caught_up += 1
            self.seen.discard(self.caught_up)
