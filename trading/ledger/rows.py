"""Which rows a journal entry makes. The projection keeps a fold of the same records, so that states agree with it."""

import math
from typing import Any

import msgspec
import sqlalchemy as sa

from core.domain import AccountChanged, OrderFilled, Prediction
from core.journal import Entry
from trading import records
from trading.ledger import tables
from trading.ledger.plans import PlanHistory
from trading.oms.book import Order
from trading.state import SessionState

Row = dict[str, Any]
Key = tuple[Any, ...]


class Batch:
    """Rows of several entries; a later row of the same key replaces an earlier one."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.rows: dict[str, dict[Key, Row]] = {str(table.name): {} for table in tables.PROJECTED}

    def put(self, table: sa.Table, **values: Any) -> None:
        """Add a row or replace the one of the same key."""
        row: Row = {"session_id": self.session_id, **values}
        self.rows[table.name][tuple(row[column.name] for column in table.primary_key)] = row


class Projection:
    """Folds entries in sequence and says which rows each makes."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._state = SessionState()
        self._session: Row | None = None
        self._starts = 0
        self._plans = PlanHistory()
        self._refusals: dict[tuple[str, str], Row] = {}

    def fold(self, entry: Entry, batch: Batch | None) -> None:
        """Take an entry in; with a batch, put its rows there (without: it is in the tables already)."""
        record = records.decode(entry)
        self._state.apply(record)
        match record:
            case records.SessionOpened():
                self._opened(record, entry)
            case records.SessionClosed():
                if self._session is not None:
                    self._session |= {"closed_ns": entry.time_ns, "close_reason": record.reason[:200]}
            case records.PlanStarted() | records.PlanEnded():
                self._plans.fold(record)
            case records.QuoteRefused():
                self._refuse(record)
            case _:
                pass
        if batch is not None:
            self._put(record, entry, batch)

    def _opened(self, record: records.SessionOpened, entry: Entry) -> None:
        self._starts += 1
        first = self._session or {"opened_ns": entry.time_ns, "start_balance": record.account.balance}
        self._session = {
            "strategy": record.strategy,
            "broker": record.broker,
            "account_key": record.account_key,
            "config_digest": record.config_digest,
            "instruments": ",".join(record.instruments),
            "simulated": record.simulated,
            "start_balance": first["start_balance"],
            "opened_ns": first["opened_ns"],
            "closed_ns": None,
            "close_reason": None,
            "starts": self._starts,
        }

    def _put(self, record: records.AnyRecord, entry: Entry, batch: Batch) -> None:
        match record:
            case records.SessionOpened() | records.SessionClosed():
                if self._session is not None:
                    batch.put(tables.sessions, **self._session)
            case records.PredictionsMade():
                for prediction in record.predictions:
                    batch.put(
                        tables.predictions,
                        decision_id=prediction.decision_id,
                        instrument=prediction.instrument,
                        time_ns=prediction.time_ns,
                        probability_short=prediction.probability_short,
                        probability_flat=prediction.probability_flat,
                        probability_long=prediction.probability_long,
                        model_name=prediction.model_name,
                        model_version=prediction.model_version,
                        model_digest=prediction.model_digest,
                        arm=prediction.arm,
                        policy_revision=prediction.policy_revision,
                        answered_by=prediction.answered_by.value,
                        strategy=_strategy(prediction.strategy[0].values if len(prediction.strategy) == 1 else ()),
                    )
                    self._alternatives(prediction, batch)
            case records.ScoringNoted():
                self._scoring(record, batch)
            case records.DecisionMade():
                batch.put(
                    tables.decisions,
                    decision_id=record.decision_id,
                    instrument=record.instrument,
                    time_ns=record.time_ns,
                    current_units=record.current_units,
                    target_fraction=record.target_fraction,
                    target_units=record.target_units,
                    reason=record.reason,
                    client_order_id=record.order.client_order_id if record.order else None,
                    model_digest=record.model_digest,
                    mid=record.mid,
                )
            case records.OrderSubmitted():
                self._own(record.order.client_order_id, "submitted", "", record.time_ns, entry, batch)
            case records.OrderUnresolved():
                self._own(record.client_order_id, "unknown", record.words, record.time_ns, entry, batch)
            case records.OrderNotSent():
                self._own(record.client_order_id, "not_sent", record.words, record.time_ns, entry, batch)
            case records.OrderResolved():
                self._own(record.client_order_id, "resolved", record.words, record.time_ns, entry, batch)
            case records.CancelRequested():
                self._own(record.client_order_id, "cancel_requested", record.reason, record.time_ns, entry, batch)
            case records.AmendRequested():
                words = f"replaced by {record.replacement.client_order_id}"
                self._own(record.client_order_id, "amend_requested", words, record.time_ns, entry, batch)
            case records.RequestFailed():
                words = f"{record.what}: {record.words}"
                self._own(record.client_order_id, "request_failed", words, record.time_ns, entry, batch)
            case records.PlanStarted() | records.PlanEnded():
                self._plan(record.plan.plan_id if isinstance(record, records.PlanStarted) else record.plan_id, batch)
            case records.BrokerSaid():
                self._broker(record, entry, batch)
            case records.AccountSeen():
                account = record.account
                batch.put(
                    tables.account_states,
                    sequence=entry.sequence,
                    time_ns=account.time_ns,
                    source="broker",
                    balance=account.balance,
                    equity=account.net_asset_value,
                    unrealised=account.unrealised_profit,
                    margin_used=account.margin_used,
                )
            case records.StepDone():
                batch.put(
                    tables.account_states,
                    sequence=entry.sequence,
                    time_ns=record.time_ns,
                    source="marked",
                    balance=self._state.balance,
                    equity=round(record.equity, 4),
                    unrealised=round(record.unrealised, 4),
                    margin_used=None,
                )
            case records.OrderBlocked():
                self._incident("blocked", record.reason.value, record.client_order_id, record.words, entry, batch)
            case records.RiskStateChanged():
                batch.put(
                    tables.risk_events,
                    sequence=entry.sequence,
                    time_ns=record.time_ns,
                    kind="risk_state",
                    state=record.state.value,
                    reason=record.reason,
                    set_by="hand" if record.by_hand else "trader",
                    words=record.words,
                )
            case records.KillSwitchSet():
                batch.put(
                    tables.risk_events,
                    sequence=entry.sequence,
                    time_ns=record.time_ns,
                    kind="kill_switch",
                    state=("ON_FLATTEN" if record.flatten else "ON") if record.on else "OFF",
                    reason=record.reason,
                    set_by=record.by[:120],
                    words="",
                )
            case records.QuoteRefused():
                batch.put(tables.quote_refusals, **self._refusals[_refusal_key(record)])
            case records.Reconciled():
                batch.put(
                    tables.reconciliations,
                    sequence=entry.sequence,
                    time_ns=record.time_ns,
                    scope=record.scope,
                    differences=record.differences,
                )
            case records.DifferenceFound():
                words = f"ours {record.ours}, broker {record.theirs}: {record.resolution}"
                self._incident("difference", record.kind, record.subject, words, entry, batch)
            case records.Degraded():
                self._incident("degraded", "over" if record.over else "begun", record.what, record.words, entry, batch)
            case _:
                pass  # quotes, heartbeats, steps and snapshots stay in the journal

    def _alternatives(self, prediction: Prediction, batch: Batch) -> None:
        for said in prediction.alternatives:
            batch.put(
                tables.alternatives,
                decision_id=prediction.decision_id,
                model_digest=said.model_digest,
                instrument=prediction.instrument,
                time_ns=prediction.time_ns,
                probability_short=said.probability_short,
                probability_flat=said.probability_flat,
                probability_long=said.probability_long,
                model_name=said.model_name,
                model_version=said.model_version,
                arm=said.arm,
                strategy=_strategy(said.strategy),
            )

    def _scoring(self, record: records.ScoringNoted, batch: Batch) -> None:
        assert self._session is not None  # a session opens before its first step
        for seen in record.inputs:
            batch.put(
                tables.scoring,
                decision_id=f"{self._session['strategy']}:{seen.instrument}:{record.time_ns}",
                instrument=seen.instrument,
                time_ns=record.time_ns,
                equity=record.equity,
                volatility=seen.volatility if math.isfinite(seen.volatility) else None,
                cost=seen.cost,
                base_rate=seen.base_rate,
                quote_rate=seen.quote_rate,
                held=seen.held,
                exits_only=seen.exits_only,
            )

    def _incident(self, kind: str, reason: str, subject: str, words: str, entry: Entry, batch: Batch) -> None:
        batch.put(
            tables.incidents,
            sequence=entry.sequence,
            time_ns=entry.time_ns,
            kind=kind,
            reason=reason,
            subject=subject,
            words=words,
        )

    def _broker(self, record: records.BrokerSaid, entry: Entry, batch: Batch) -> None:
        event = record.event
        if isinstance(event, AccountChanged):
            words = f"{event.amount} {event.instrument}".strip()
            self._incident("account", event.kind[:60], str(event.transaction_id), words, entry, batch)
            return
        if not isinstance(event, OrderFilled):
            order = self._state.book.find(event.client_order_id, getattr(event, "broker_order_id", ""))
            key = order.key if order is not None else event.client_order_id
            kind = str(event.__struct_config__.tag)
            words = order.words if order is not None else ""
            self._order(key, kind, event.transaction_id, record.source, words, event.time_ns, entry, batch)
            return
        fill = event.fill
        order = self._state.book.find(fill.client_order_id, fill.broker_order_id)
        key = order.key if order is not None else fill.client_order_id
        batch.put(
            tables.fills,
            transaction_id=fill.transaction_id,
            client_order_id=key,
            broker_order_id=fill.broker_order_id,
            instrument=fill.instrument,
            units=fill.units,
            price=fill.price,
            time_ns=fill.time_ns,
            realised_profit=fill.realised_profit,
            commission=fill.commission,
            half_spread_cost=fill.half_spread_cost,
            financing=fill.financing,
            account_balance=fill.account_balance,
            reason=fill.reason,
        )
        book = self._state.positions
        batch.put(
            tables.positions,
            instrument=fill.instrument,
            units=book.units(fill.instrument),
            average_price=book.average_price(fill.instrument),
            realised_quote=book.realised.get(fill.instrument, fill.realised_profit * 0),
            updated_ns=fill.time_ns,
        )
        self._order(key, "filled", fill.transaction_id, record.source, fill.reason, fill.time_ns, entry, batch)

    def _order(
        self,
        key: str,
        kind: str,
        transaction_id: int | None,
        source: str,
        words: str,
        time_ns: int,
        entry: Entry,
        batch: Batch,
    ) -> None:
        order = self._state.book.orders.get(key)
        batch.put(
            tables.order_events,
            sequence=entry.sequence,
            client_order_id=key,
            kind=kind,
            state=order.state.value if order is not None else "",
            transaction_id=transaction_id,
            time_ns=time_ns,
            source=source,
            words=words,
        )
        if order is None:
            return
        # A refused replacement lets the order it was to replace stand: both rows move with one event.
        for related in (order.key, order.replaces, order.replacement):
            found = self._state.book.orders.get(related)
            if found is not None:
                batch.put(tables.orders, **_order_row(found, time_ns))
        plan_id = self._plans.plan_of(order)
        if plan_id:
            self._plan(plan_id, batch)

    def _own(self, key: str, kind: str, words: str, time_ns: int, entry: Entry, batch: Batch) -> None:
        """An event of our own making."""
        self._order(key, kind, None, "trader", words, time_ns, entry, batch)

    def _plan(self, plan_id: str, batch: Batch) -> None:
        batch.put(tables.execution_plans, **self._plans.row(plan_id, self._state.book))

    def _refuse(self, record: records.QuoteRefused) -> None:
        """Quotes are many: refusals are counted by instrument and reason, each is in the journal."""
        instrument, reason = key = _refusal_key(record)
        row = self._refusals.setdefault(
            key, {"instrument": instrument, "reason": reason, "count": 0, "first_ns": record.time_ns}
        )
        row |= {"count": row["count"] + 1, "last_ns": record.time_ns, "last_words": record.words}


def _strategy(values: tuple[tuple[str, float], ...]) -> str | None:
    """Return the strategy parameters that a version brought along as JSON; None where it brought none."""
    return msgspec.json.encode(dict(values)).decode() if values else None


def _refusal_key(record: records.QuoteRefused) -> tuple[str, str]:
    return record.instrument[:80], record.reason[:40]


def _order_row(order: Order, time_ns: int) -> Row:
    request = order.request
    return {
        "client_order_id": order.key,
        "broker_order_id": order.broker_order_id,
        "decision_id": request.decision_id if request is not None else "",
        "instrument": order.instrument,
        "units": order.units,
        "order_type": order.order_type.value,
        "stop_loss_price": request.stop_loss_price if request is not None else None,
        "take_profit_price": request.take_profit_price if request is not None else None,
        "trailing_stop_distance": request.trailing_stop_distance if request is not None else None,
        "time_in_force": request.time_in_force.value if request is not None else None,
        "price": request.price if request is not None else None,
        "price_bound": request.price_bound if request is not None else None,
        "good_till_ns": request.good_till_ns if request is not None else None,
        "reduce_only": request.reduce_only if request is not None else None,
        "replaces": order.replaces or None,
        "state": order.state.value,
        "filled_units": order.filled_units,
        "reject_reason": order.reject_reason.value if order.reject_reason is not None else None,
        "words": order.words,
        "created_ns": order.created_ns,
        "updated_ns": time_ns,
    }
