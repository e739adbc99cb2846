"""The state of a session: a fold of its records. The live loop and a recovery go through this one ``apply``."""

from collections.abc import Callable
from decimal import Decimal

from core.domain import (
    AccountChanged,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    OrderState,
    Prediction,
)
from core.errors import IntegrityError
from trading import records
from trading.calendar import trading_day
from trading.execution.plan import ExecutionPlan
from trading.oms.book import Order, OrderBook
from trading.oms.positions import Closing, PositionBook
from trading.risk.limits import RiskState

_MINUTE = 60_000_000_000


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
        caught_up: transaction id up to which everything is known to have been seen.
        balance: start balance plus every amount the broker booked since, added up here.
        stated_balance: the balance the broker wrote into its newest event.
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
        self.caught_up = 0
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
        self.submitted_ns: list[int] = []
        self.features_saved: records.FeaturesSaved | None = None
        self.degraded: dict[str, str] = {}
        self.violations: list[str] = []  # order transitions that must never happen, and did
        self.closings: list[Closing] = []  # of the newest applied fill

    def is_new(self, transaction_id: int) -> bool:
        """Whether an event with this transaction id was not applied yet. 0 stands for no transaction."""
        return transaction_id == 0 or (transaction_id > self.caught_up and transaction_id not in self.seen)

    @property
    def newest_transaction(self) -> int:
        """The highest transaction id seen."""
        return max(self.seen, default=self.caught_up)

    def day_changed(self, now_ns: int) -> bool:
        """Whether a new trading day began since the newest finished step."""
        return trading_day(now_ns) != self.day

    def orders_within_minute(self, now_ns: int) -> int:
        """How many orders went out in the last 60 seconds of the clock."""
        self.submitted_ns = [time for time in self.submitted_ns if time > now_ns - _MINUTE]
        return len(self.submitted_ns)

    def apply(self, record: records.AnyRecord) -> None:
        """Take one record in.

        Raises:
            IntegrityError: one of our own records asks for an impossible order transition.
        """
        match record:
            case records.StepClosed():
                self.step = StepProgress(record.time_ns)
                self.steps += 1
            case records.PredictionsMade():
                if self.step is not None:
                    self.step.predictions = {p.instrument: p for p in record.predictions}
            case records.DecisionMade():
                if self.step is not None:
                    self.step.decisions.append(record)
            case records.OrderBlocked():
                if self.step is not None:
                    self.step.blocked.add(record.client_order_id)
            case records.OrderSubmitted():
                self.book.submit(record.order, record.time_ns)
                self.submitted_ns.append(record.time_ns)
            case records.OrderUnresolved():
                self.book.move(record.client_order_id, OrderState.UNKNOWN, record.words)
            case records.OrderNotSent():
                self.book.not_sent(record.client_order_id, record.words)
            case records.OrderResolved():
                self.book.move(record.client_order_id, record.state, record.words)
            case records.BrokerSaid():
                self._broker_event(record)
            case records.CaughtUp():
                self.caught_up = max(self.caught_up, record.transaction_id)
                self.seen = {number for number in self.seen if number > self.caught_up}
            case records.StepDone():
                self._step_done(record)
            case records.StepMissed():
                if self.step is not None:
                    self.step.done = True
            case records.RiskStateChanged():
                self.risk_state = record.state
                self.risk_reason = record.reason
                if record.by_hand:
                    self.peak_equity = self.equity  # a person took note of the loss: drawdown counts anew
            case records.KillSwitchSet():
                self.kill_switch = record
            case records.PlanStarted():
                self.plans[record.plan.plan_id] = record.plan
            case records.PlanEnded():
                self.plans.pop(record.plan_id, None)
                if self.step is not None:
                    self.step.blocked.add(record.plan_id)  # finishing an interrupted step must not begin it again
            case records.FeaturesSaved():
                self.features_saved = record
            case records.Degraded():
                if record.over:
                    self.degraded.pop(record.what, None)
                else:
                    self.degraded[record.what] = record.words
            case records.SessionOpened():
                self._session_opened(record)
            case records.SessionClosed():
                self.closed = True
            case _:
                pass  # quotes, heartbeats, account states and differences change nothing here

    def _session_opened(self, record: records.SessionOpened) -> None:
        self.closed = False
        self.config_digest = record.config_digest
        if self.opened:
            return
        self.opened = True
        self.start_balance = self.balance = record.account.balance
        self.caught_up = self.start_transaction = record.account.last_transaction_id
        self.equity = self.day_start_equity = self.peak_equity = float(record.account.net_asset_value)
        self.day = trading_day(record.account.time_ns)
        for position in record.positions:
            self.positions.open_at(position.instrument, position.units, position.average_price, record.account.time_ns)

    def _step_done(self, record: records.StepDone) -> None:
        if self.step is not None and self.step.time_ns == record.time_ns:
            self.step.done = True
        day = trading_day(record.time_ns)
        if day != self.day:
            # The day's loss is counted from the last equity of the day before.
            self.day, self.day_start_equity = day, self.equity
        self.equity = record.equity
        self.peak_equity = max(self.peak_equity, record.equity)

    def _order_event(self, change: Callable[[], Order | None]) -> Order | None:
        """Let the book take an event. An impossible one is remembered, for the money it moved must still be counted."""
        try:
            return change()
        except IntegrityError as error:
            self.violations.append(error.message)
            return None

    def _broker_event(self, record: records.BrokerSaid) -> None:
        event = record.event
        if event.transaction_id:
            self.seen.add(event.transaction_id)
        match event:
            case OrderAccepted():
                self._order_event(lambda: self.book.accepted(event))
            case OrderCancelled():
                self._order_event(lambda: self.book.cancelled(event))
            case OrderRejected():
                self._order_event(lambda: self.book.rejected(event))
            case OrderFilled():
                fill = event.fill
                order = self._order_event(lambda: self.book.filled(event))
                self.closings = self.positions.apply(fill, order.parent_transaction if order else 0)
                self.balance += fill.realised_profit + fill.financing - fill.commission
                self.stated_balance = fill.account_balance if fill.account_balance is not None else self.stated_balance
            case AccountChanged():
                self.balance += event.amount
                if event.account_balance is not None:
                    self.stated_balance = event.account_balance
