"""The risk desk of one session: looks at state, quotes and returns, and says yes or no to each order."""

from collections.abc import Mapping
from typing import Any

import msgspec

from core.domain import Instrument, OrderRequest, OrderType, PositionFill, Quote, RejectReason, TimeInForce
from trading import records
from trading.oms.order import Order
from trading.risk.hours import TradingHours
from trading.risk.limits import OrderKind, PendingOrder, Refusal, RiskView, check_order
from trading.risk.parameters import RiskParameters, RiskState
from trading.risk.value_at_risk import ReturnHistory, RiskFigures
from trading.state import SessionState

_RESTS = frozenset({TimeInForce.GTC, TimeInForce.GTD})
_PROTECTIVE = frozenset({OrderType.STOP_LOSS, OrderType.TAKE_PROFIT, OrderType.TRAILING_STOP_LOSS})


class PreTrade:
    """Checks orders and amendments of a session, and measures its value at risk.

    Args:
        limits: of the account.
        instruments: of the session, in the order of the steps' rows.
    """

    def __init__(self, limits: RiskParameters, instruments: Mapping[str, Instrument]) -> None:
        self._limits = limits
        self._instruments = instruments
        self._margin_rates = {name: float(instrument.margin_rate) for name, instrument in instruments.items()}
        self._hours = TradingHours(limits)
        self.returns = ReturnHistory(tuple(instruments), limits.value_at_risk_decay)

    def observe(self, record: records.AnyRecord) -> None:
        """Take in a record of the session: the returns are those of its steps."""
        if isinstance(record, records.StepClosed):
            self.returns.take(record)
            if self._limits.maximum_value_at_risk is not None:
                self.returns.settle()  # no order waits for it

    def check(
        self,
        order: OrderRequest,
        state: SessionState,
        quotes: Mapping[str, Quote],
        rates: Mapping[str, float],
        equity: float,
        now_ns: int,
        replaces: str = "",
    ) -> Refusal | None:
        """Return why an order must not go out, in words with value and limit, or None.

        Args:
            order: a new order, or the replacement of an open one.
            state: of the session.
            quotes: the standing ones.
            rates: the account currency's worth of one unit of each currency.
            equity: in account currency.
            now_ns: of the session's clock.
            replaces: client order id of the order that ``order`` takes the place of: it no longer counts.
        """
        instrument = self._instruments.get(order.instrument)
        if instrument is None:
            return RejectReason.UNKNOWN_INSTRUMENT, f"the broker has no {order.instrument}"
        kind = OrderKind(
            rests=order.time_in_force in _RESTS and order.order_type is not OrderType.MARKET,
            reduce_only=order.reduce_only or order.position_fill is PositionFill.REDUCE_ONLY,
            protective=order.order_type in _PROTECTIVE,
            tightens=_tightens(order, state.book.orders.get(replaces)),
        )
        positions = {name: float(units) for name, units in state.positions.held().items()}
        working = [working for working in state.book.open() if working.entry and working.key != replaces]
        limited = self._limits.maximum_value_at_risk is not None
        view = RiskView(
            # The switch halts from its record on: the change of the risk state that follows it may be lost to a crash.
            state=RiskState.HALTED if state.kill_switch is not None and state.kill_switch.on else state.risk_state,
            now_ns=now_ns,
            equity=equity,
            day_start_equity=_day_start(state, now_ns) or equity,
            peak_equity=max(state.peak_equity, equity),
            positions=positions,
            rates=rates,
            orders_last_minute=state.orders_within_minute(now_ns),
            in_flight=frozenset(order.instrument for order in working if order.unsettled),
            known_order=state.book.was_sent(order.client_order_id),
            pending=tuple(pending for pending in map(_pending, working) if pending is not None),
            margin_rates=self._margin_rates,
            degraded=state.no_new_risk(),
            hours=self._hours.refusal(instrument.kind, now_ns),
            value_at_risk=(lambda portfolio: self._loss(portfolio, rates)) if limited else None,
        )
        return check_order(
            order.instrument,
            float(order.units),
            float(instrument.pip),
            quotes.get(order.instrument),
            view,
            self._limits,
            kind,
        )

    def figures(self, state: SessionState, rates: Mapping[str, float]) -> RiskFigures | None:
        """Return the value at risk of the open positions; None where one of them cannot be converted."""
        positions = {name: float(units) for name, units in state.positions.held().items()}
        try:
            return self.returns.figures(positions, rates, self._limits.value_at_risk_confidence)
        except KeyError:
            return None

    def describe(self, state: SessionState, rates: Mapping[str, float]) -> dict[str, Any] | None:
        """Return the value at risk for a status page, with its limit; None where it cannot be computed."""
        figures = self.figures(state, rates)
        if figures is None:
            return None
        return {**msgspec.to_builtins(figures), "limit_share_of_equity": self._limits.maximum_value_at_risk}

    def _loss(self, portfolio: Mapping[str, float], rates: Mapping[str, float]) -> float:
        return self.returns.parametric(portfolio, rates, self._limits.value_at_risk_confidence)


def _tightens(order: OrderRequest, old: Order | None) -> bool:
    """Whether an amendment moves a stop closer for as long as the trade lives.

    Of a trailing stop only the distance is known, not where it stands: a shorter one, counted from today's price, may
    be further away than where the old one has come to.
    """
    if old is None or old.order_type is not OrderType.STOP_LOSS or order.order_type is not OrderType.STOP_LOSS:
        return False
    if old.price is None or order.price is None or order.good_till_ns is not None:
        return False
    return order.price > old.price if old.units < 0 else old.units > 0 and order.price < old.price


def _pending(order: Order) -> PendingOrder | None:
    """What may still be filled of a working order; None where it can only lower a position."""
    left = order.units - order.filled_units
    request = order.request
    only_reduces = request is not None and (request.reduce_only or request.position_fill is PositionFill.REDUCE_ONLY)
    if left == 0 or only_reduces:
        return None
    return PendingOrder(order.instrument, float(left))


def _day_start(state: SessionState, now_ns: int) -> float:
    """Equity at the start of the trading day: on its first step that of the day before's end."""
    return state.equity if state.day_changed(now_ns) else state.day_start_equity
