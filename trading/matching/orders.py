"""The order desk: what clients ask for becomes orders, or rejects with the protocol's reason."""

from typing import Any

import msgspec

from trading.matching.book import Order, Trade
from trading.matching.closing import Closing
from trading.matching.commands import MarketOrderOrigin, OrderSpecification
from trading.matching.dependent import DependentOrders
from trading.matching.execution import Execution
from trading.matching.log import TransactionLog
from trading.matching.rejection import CLIENT, client_id_refusal, reject, reject_cancel
from trading.matching.specifications import quantised
from trading.matching.transactions import ORDER_CREATED
from trading.matching.triggers import triggered
from trading.matching.validation import ENTRY_TYPES, TRADE_TYPES, default_time_in_force, reject_reason
from trading.matching.wire import ZERO

_FILL_REASONS = {
    "CLIENT_ORDER": "MARKET_ORDER",
    "TRADE_CLOSE": "MARKET_ORDER_TRADE_CLOSE",
    "POSITION_CLOSEOUT": "MARKET_ORDER_POSITION_CLOSEOUT",
}


class OrderDesk:
    """Takes orders for one account."""

    def __init__(self, log: TransactionLog, execution: Execution) -> None:
        self.log = log
        self.execution = execution
        self.dependent = DependentOrders(log, execution)
        self.closing = Closing(log, self.refusal, self.create)

    def submit(self, spec: OrderSpecification) -> None:
        """Create an order and execute it if it is due at once."""
        if spec.type in TRADE_TYPES:
            self.dependent.submit(spec, None)
            return
        reason = self.refusal(spec)
        if reason is not None:
            reject(self.log, spec, reason)
            return
        self.create(spec)

    def cancel(self, specifier: str) -> None:
        """Cancel a pending order."""
        order = self._pending(specifier)
        if order is None:
            reject_cancel(self.log, specifier)
        else:
            self.log.cancel(order, "CLIENT_REQUEST")

    def replace(self, specifier: str, spec: OrderSpecification) -> None:
        """Cancel a pending order and create its replacement, or do neither."""
        old = self._pending(specifier)
        if old is None:
            reject_cancel(self.log, specifier)
            return
        if spec.client_extensions is None:
            spec = msgspec.structs.replace(spec, client_extensions=old.client_extensions)
        if spec.type in TRADE_TYPES:
            self.dependent.submit(spec, old)
            return
        reason = "REPLACING_ORDER_INVALID" if spec.type == "MARKET" else self.refusal(spec, old)
        if reason is not None:
            reject(self.log, spec, reason, old)
            return
        self.log.cancel(old, "CLIENT_REQUEST_REPLACED", replaced_by=str(int(self.log.next_id) + 1))
        self.create(spec, replaces=old)

    # -- making orders -------------------------------------------------------------------------------------------

    def refusal(self, spec: OrderSpecification, old: Order | None = None) -> str | None:
        if spec.instrument is None:
            return "INSTRUMENT_MISSING"
        instrument = self.log.instruments.get(spec.instrument)
        if instrument is None:
            return "INSTRUMENT_UNKNOWN"
        if old is not None and old.instrument != spec.instrument:
            return "REPLACING_ORDER_INVALID"
        return reject_reason(spec, instrument, self.log.book.time_ns) or client_id_refusal(self.log, spec, old)

    def create(
        self,
        spec: OrderSpecification,
        origin: MarketOrderOrigin = CLIENT,
        replaces: Order | None = None,
        only_trade: Trade | None = None,
    ) -> None:
        log = self.log
        instrument = log.instruments[spec.instrument or ""]
        entry = spec.type in ENTRY_TYPES
        fields: dict[str, Any] = {
            "instrument": spec.instrument,
            "units": instrument.round_units(spec.units or ZERO),
            "time_in_force": spec.time_in_force or default_time_in_force(spec.type),
            "gtd_time": spec.gtd_time,
            "price": instrument.round_price(spec.price) if entry and spec.price is not None else None,
            "price_bound": None if spec.price_bound is None else instrument.round_price(spec.price_bound),
            "position_fill": spec.position_fill,
            "trigger_condition": spec.trigger_condition if entry else None,
            "client_extensions": spec.client_extensions,
            "trade_client_extensions": spec.trade_client_extensions,
            "take_profit_on_fill": quantised(spec.take_profit_on_fill, instrument.tick),
            "stop_loss_on_fill": quantised(spec.stop_loss_on_fill, instrument.tick),
            "trailing_stop_loss_on_fill": quantised(spec.trailing_stop_loss_on_fill, instrument.tick),
            "trade_close": origin.trade_close,
            "replaces_order_id": replaces.id if replaces else None,
        }
        transaction = log.write(
            ORDER_CREATED[spec.type],
            reason="REPLACEMENT" if replaces else origin.reason,
            partial_fill="DEFAULT" if entry else None,
            long_position_closeout=origin.long_position_closeout,
            short_position_closeout=origin.short_position_closeout,
            cancelling_transaction_id=replaces.cancelling_transaction_id if replaces else None,
            **fields,
        )
        order = Order(
            id=transaction.id,
            create_time=transaction.time,
            type=spec.type,
            state="PENDING",
            partial_fill="DEFAULT_FILL" if entry else None,
            **fields,
        )
        log.book.orders[order.id] = order
        log.remember_client_id(order)
        if entry and log.book.reject_reasons:
            log.cancel(order, log.book.reject_reasons.pop(0))
            return
        if not entry:
            self.execution.execute(order, _FILL_REASONS[origin.reason], only_trade)
            return
        self._rest(order)

    def _rest(self, order: Order) -> None:
        """Let an entry order rest, or execute it if the market is already there."""
        log = self.log
        name = order.instrument or ""
        quoted = name in log.book.quotes
        if quoted and order.type == "MARKET_IF_TOUCHED":
            bid, ask = log.market.price(name)
            order.initial_market_price = ask if (order.units or ZERO) > 0 else bid
        log.add_pending(order)
        if quoted and log.market.tradeable(name):
            bid, ask = log.market.price(name)
            if triggered(order, (order.units or ZERO) > 0, bid, ask):
                self.execution.execute(order, f"{order.type}_ORDER")
                return
        if order.time_in_force in ("FOK", "IOC"):
            log.cancel(order, "TIME_IN_FORCE_EXPIRED" if quoted else "MARKET_HALTED")

    def _pending(self, specifier: str) -> Order | None:
        order = self.log.find_order(specifier)
        return order if order is not None and order.state == "PENDING" else None
