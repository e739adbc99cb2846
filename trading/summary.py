"""What a session did, gathered record by record: the same after a restart as without one."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from core.domain import AccountChanged, OrderFilled, OrderRejected, OrderRequest, Quote
from core.errors import BadInputError
from core.journal import read_entries
from trading import records
from trading.intake import Intake
from trading.oms.positions import Closing
from trading.reconciliation.compare import ReconciliationResult
from trading.risk.exposure import conversion_rates
from trading.state import SessionState

_ZERO = Decimal(0)


class Trade(msgspec.Struct, frozen=True):
    """One round trip. ``profit`` is in the quote currency, ``profit_account`` at the rate of the closing moment."""

    instrument: str
    units: float
    open_ns: int
    close_ns: int
    open_price: float
    close_price: float
    profit: float
    profit_account: float
    reason: str


class CostsPaid(msgspec.Struct, frozen=True):
    """Account currency; a positive number was paid. Slippage is against the quote at the decision."""

    spread: float
    commission: float
    financing: float
    slippage: float


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON-serialisable result of a session; money in account currency."""

    session_id: str
    strategy: str
    broker: str
    simulated: bool
    ended: str
    starts: int
    account_currency: str
    first_step_ns: int
    last_step_ns: int
    steps: int
    steps_missed: int
    decisions: int
    predictions: dict[str, int]
    model_digests: list[str]
    orders: int  # sent, replacements of amended ones among them
    cancels: int
    amendments: int
    fills: int
    stops_filled: int
    orders_not_sent: int
    rejects: dict[str, int]
    costs: CostsPaid
    start_balance: float
    balance: float
    equity: float
    profit_realised: float
    profit_unrealised: float
    maximum_drawdown: float
    hit_rate: float | None
    trades: list[Trade]
    equity_curve: list[tuple[int, float]]
    latencies: dict[str, dict[str, float]]
    reconciliation: ReconciliationResult | None
    degraded: dict[str, int]
    differences: int
    risk_state: str
    live_features_path: str
    journal_path: str
    journal_entries: int
    ledger_complete: bool | None
    order_digest: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return msgspec.to_builtins(self)


class SummaryCollector:
    """Observes records; give it every record of the journal in order, those of before a restart first."""

    def __init__(self, account_currency: str) -> None:
        self._account_currency = account_currency
        self._quotes: dict[str, Quote] = {}
        self._submitted: dict[str, records.OrderSubmitted] = {}
        self._rates: dict[str, float] = {account_currency: 1.0}
        self.starts = 0
        self._simulated = False
        self._intake: Intake | None = None  # of the running session
        self.steps: list[int] = []
        self.steps_missed = 0
        self.decisions: set[str] = set()
        self.predictions: dict[str, int] = {}
        self.model_digests: set[str] = set()
        self.orders: list[str] = []
        self.cancels = 0
        self.amendments = 0
        self.not_sent = 0
        self.fills = 0
        self.stops_filled = 0
        self.rejects: dict[str, int] = {}
        self.degraded: dict[str, int] = {}
        self.differences = 0
        self.trades: list[Trade] = []
        self.equity_curve: list[tuple[int, float]] = []
        self.unrealised = 0.0
        self.realised = _ZERO
        self.spread = _ZERO
        self.commission = _ZERO
        self.financing = _ZERO
        self.slippage = 0.0

    def follow(self, intake: Intake) -> None:
        """Observe a running session. Its quotes are not observed one by one: they stand where it keeps them."""
        self._intake = intake
        others = [kind for kind in records.KINDS if kind is not records.QuoteSeen]
        intake.observe(lambda record, _: self.observe(record, intake.state), others)

    @property
    def simulated(self) -> bool:
        """Whether anything of the session was simulated."""
        return self._simulated or (self._intake is not None and self._intake.simulated)

    def observe(self, record: records.AnyRecord, state: SessionState) -> None:
        """Take in a record that ``state`` has just applied."""
        match record:
            case records.QuoteSeen():
                self._quotes[record.quote.instrument] = record.quote
                self._simulated = self._simulated or record.quote.simulated
            case records.StepClosed():  # what each step has comes first: the cases are tried in this order
                self.steps.append(record.time_ns)
            case records.DecisionMade():
                self.decisions.add(record.decision_id)
            case records.StepDone():
                self.equity_curve.append((record.time_ns, round(record.equity, 4)))
                self.unrealised = record.unrealised
                self._rates = record.rates
            case records.SessionOpened():
                self.starts += 1
                self._simulated = self._simulated or record.simulated
            case records.PredictionsMade():
                for prediction in record.predictions:
                    self.predictions[prediction.answered_by.value] = self.predictions.get(prediction.answered_by, 0) + 1
                    self.model_digests.add(prediction.model_digest)
            case records.OrderSubmitted():
                self._submitted[record.order.client_order_id] = record
                self._count_order(record.order)
            case records.AmendRequested():
                self.amendments += 1
                self._count_order(record.replacement)
            case records.CancelRequested():
                self.cancels += 1
            case records.OrderNotSent():
                self.not_sent += 1
            case records.OrderBlocked():
                self._count_reject(record.reason.value)
            case records.BrokerSaid():
                self._broker(record, state)
            case records.StepMissed():
                self.steps_missed += 1
            case records.DifferenceFound():
                self.differences += 1
            case records.Degraded():
                if not record.over:
                    self.degraded[record.what] = self.degraded.get(record.what, 0) + 1
            case _:
                pass

    def _broker(self, record: records.BrokerSaid, state: SessionState) -> None:
        event = record.event
        match event:
            case OrderRejected():
                self._count_reject(event.reject_reason.value)
            case AccountChanged():
                self.financing -= event.amount if "FINANCING" in event.kind else _ZERO
            case OrderFilled():
                self._fill(event, state.closings)
            case _:
                reason = getattr(event, "reject_reason", None)
                if reason is not None:
                    self._count_reject(reason.value)

    def _fill(self, event: OrderFilled, closings: list[Closing]) -> None:
        fill = event.fill
        self.fills += 1
        self.stops_filled += "STOP_LOSS" in fill.reason
        self.realised += fill.realised_profit
        self.spread += fill.half_spread_cost
        self.commission += fill.commission
        self.financing -= fill.financing
        standing = self._intake.quotes if self._intake is not None else {}
        rates = conversion_rates({**self._quotes, **standing}, self._account_currency)
        rate = rates.get(fill.instrument.partition("_")[2], 0.0)
        submitted = self._submitted.get(fill.client_order_id)
        if submitted is not None and submitted.bid > 0:
            expected = submitted.ask if fill.units > 0 else submitted.bid
            self.slippage += float(fill.units) * (float(fill.price) - expected) * rate
        for closing in closings:
            self.trades.append(
                Trade(
                    instrument=closing.instrument,
                    units=float(closing.units),
                    open_ns=closing.open_ns,
                    close_ns=closing.close_ns,
                    open_price=float(closing.open_price),
                    close_price=float(closing.close_price),
                    profit=float(closing.profit),
                    profit_account=round(float(closing.profit) * rate, 4),
                    reason=closing.reason,
                )
            )

    def _count_order(self, order: OrderRequest) -> None:
        self.orders.append(f"{order.client_order_id} {order.units} {order.stop_loss_price}")

    def _count_reject(self, reason: str) -> None:
        self.rejects[reason] = self.rejects.get(reason, 0) + 1

    def maximum_drawdown(self) -> float:
        """Largest fall of the equity curve from its highest point so far, as a share of it."""
        peak, worst = 0.0, 0.0
        for _, equity in self.equity_curve:
            peak = max(peak, equity)
            if peak > 0:
                worst = max(worst, 1.0 - equity / peak)
        return worst

    def hit_rate(self) -> float | None:
        """Share of round trips that made money; None where there was none."""
        if not self.trades:
            return None
        return sum(trade.profit > 0 for trade in self.trades) / len(self.trades)


def write_summary(path: Path, summary: SessionSummary) -> None:
    """Write a summary as JSON, whole or not at all."""
    from core.files import write_json

    write_json(path, summary.to_json())


def read_state(directory: Path, collector: SummaryCollector) -> tuple[SessionState, list[records.StepClosed]]:
    """Fold a session's journal; return its state and its steps. An empty folder gives a fresh state.

    Raises:
        IntegrityError: the journal is broken.
    """
    state = SessionState()
    steps: list[records.StepClosed] = []
    try:
        for entry in read_entries(directory):
            record = records.decode(entry)
            state.apply(record)
            collector.observe(record, state)
            if isinstance(record, records.StepClosed):
                steps.append(record)
    except BadInputError:
        return state, steps
    return state, steps
