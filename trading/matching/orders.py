"""The order desk: what clients ask for becomes orders, or rejects with the protocol's reason."""

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from trading.matching.book import Order, Trade
from trading.matching.commands import (
    ClosePosition,
    CloseTrade,
    MarketOrderOrigin,
    OrderSpecification,
    SetTradeOrders,
)
from trading.matching.execution import Execution
from trading.matching.log import TransactionLog
from trading.matching.specifications import quantised, trade_order, trade_specifier
from trading.matching.transactions import (
    ORDER_CREATED,
    ORDER_REJECTED,
    ClientExtensions,
    OnFillDetails,
    OrderCancelReject,
    PositionCloseoutDetails,
    TradeCloseDetails,
)
from trading.matching.triggers import triggered
from trading.matching.validation import ENTRY_TYPES, TRADE_TYPES, default_time_in_force, reject_reason
from trading.matching.wire import ZERO

_FILL_REASONS = {
    "CLIENT_ORDER": "MARKET_ORDER",
    "TRADE_CLOSE": "MARKET_ORDER_TRADE_CLOSE",
    "POSITION_CLOSEOUT": "MARKET_ORDER_POSITION_CLOSEOUT",
}
_CLIENT = MarketOrderOrigin()


class OrderDesk:
    """Takes orders for one account."""

    def __init__(self, log: TransactionLog, execution: Execution) -> None:
        self.log = log
        self.execution = execution

    def submit(self, spec: OrderSpecification) -> None:
        """Create an order and execute it if it is due at once."""
        if spec.type in TRADE_TYPES:
            self._submit_on_trade(spec, None)
            return
        reason = self._refusal(spec)
        if reason is not None:
            self._reject(spec, reason)
            return
        self._create(spec)

    def cancel(self, specifier: str) -> None:
        """Cancel a pending order."""
        order = self._pending(specifier)
        if order is None:
            self._cancel_reject(specifier)
        else:
            self.log.cancel(order, "CLIENT_REQUEST")

    def replace(self, specifier: str, spec: OrderSpecification) -> None:
        """Cancel a pending order and create its replacement, or do neither."""
        old = self._pending(specifier)
        if old is None:
            self._cancel_reject(specifier)
            return
        if spec.client_extensions is None:
            spec = msgspec.structs.replace(spec, client_extensions=old.client_extensions)
        if spec.type in TRADE_TYPES:
            self._submit_on_trade(spec, old)
            return
        reason = "REPLACING_ORDER_INVALID" if spec.type == "MARKET" else self._refusal(spec, old)
        if reason is not None:
            self._reject(spec, reason, old)
            return
        self.log.cancel(old, "CLIENT_REQUEST_REPLACED", replaced_by=str(int(self.log.next_id) + 1))
        self._create(spec, replaces=old)

    # -- closing -------------------------------------------------------------------------------------------------

    def close_trade(self, command: CloseTrade) -> None:
        """Close a trade or part of it with a market order."""
        log = self.log
        trade = log.find_trade(command.trade)
        written = "ALL" if command.units is None else f"{command.units:f}"
        origin = MarketOrderOrigin(
            reason="TRADE_CLOSE",
            trade_close=TradeCloseDetails(trade_id=trade.id if trade else command.trade.lstrip("@"), units=written),
        )
        name = trade.instrument if trade else None
        size = None if trade is None else abs(trade.units) if command.units is None else command.units
        spec = OrderSpecification(
            instrument=name,
            units=None if trade is None or size is None else -size.copy_sign(trade.units),
            position_fill="REDUCE_ONLY",
            client_extensions=command.client_extensions,
        )
        if trade is None or not trade.units:
            self._reject(spec, "TRADE_DOESNT_EXIST", origin=origin)
            return
        reason = "UNITS_INVALID" if command.units is not None and command.units <= 0 else self._refusal(spec)
        if reason is None and size is not None and size > abs(trade.units):
            reason = "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE"
        if reason is not None:
            self._reject(spec, reason, origin=origin)
            return
        self._create(spec, origin=origin, only_trade=trade)

    def close_position(self, command: ClosePosition) -> None:
        """Close the long side, the short side, or both; if one that was named cannot be closed, nothing is."""
        held = sum((t.units for t in self.log.open_trades.get(command.instrument, {}).values()), ZERO)
        sides = (
            (True, command.long_units, command.long_client_extensions),
            (False, command.short_units, command.short_client_extensions),
        )
        wanted: list[tuple[OrderSpecification, MarketOrderOrigin, str | None]] = []
        unsaid = command.long_units is None and command.short_units is None
        for long, units, extensions in sides:
            exists = held > 0 if long else held < 0
            nothing_to_say = units is None and not exists and not (unsaid and long and not held)
            if units == "NONE" or nothing_to_say:
                continue
            wanted.append(
                self._closeout(command.instrument, long, units or "ALL", held if exists else ZERO, extensions)
            )
        if not wanted:
            spec = OrderSpecification(instrument=command.instrument, position_fill="REDUCE_ONLY")
            origin = MarketOrderOrigin(reason="POSITION_CLOSEOUT")
            self._reject(spec, "CLOSEOUT_POSITION_INCOMPLETE_SPECIFICATION", origin=origin)
        failed = any(reason for _, _, reason in wanted)
        for spec, origin, reason in wanted:
            if reason is not None:
                self._reject(spec, reason, origin=origin)
            elif not failed:
                self._create(spec, origin=origin)

    def _closeout(
        self, name: str, long: bool, units: str, held: Decimal, extensions: ClientExtensions | None
    ) -> tuple[OrderSpecification, MarketOrderOrigin, str | None]:
        details = PositionCloseoutDetails(instrument=name, units=units)
        origin = MarketOrderOrigin(
            reason="POSITION_CLOSEOUT",
            long_position_closeout=details if long else None,
            short_position_closeout=None if long else details,
        )
        try:
            size = abs(held) if units == "ALL" else Decimal(units)
        except InvalidOperation:
            size = Decimal("NaN")
        signed = (-size if long else size) if size else None
        spec = OrderSpecification(
            instrument=name, units=signed, position_fill="REDUCE_ONLY", client_extensions=extensions
        )
        if not held:
            return msgspec.structs.replace(spec, units=None), origin, "CLOSEOUT_POSITION_DOESNT_EXIST"
        if not size.is_finite() or size <= 0:
            return msgspec.structs.replace(spec, units=None), origin, "UNITS_INVALID"
        reason = "CLOSEOUT_POSITION_UNITS_EXCEED_POSITION_SIZE" if size > abs(held) else self._refusal(spec)
        return spec, origin, reason

    # -- orders of a trade ---------------------------------------------------------------------------------------

    def set_trade_orders(self, command: SetTradeOrders) -> None:
        """Create, replace or cancel the take-profit, stop-loss and trailing stop of a trade, all or nothing."""
        log = self.log
        wanted = (
            ("TAKE_PROFIT", command.take_profit),
            ("STOP_LOSS", command.stop_loss),
            ("TRAILING_STOP_LOSS", command.trailing_stop_loss),
        )
        trade = log.find_trade(command.trade)
        specs = [(kind, trade_order(kind, command.trade, details)) for kind, details in wanted if details is not None]
        refusals = [(spec, self._trade_refusal(spec, trade, replacing=True)) for _, spec in specs]
        for spec, reason in refusals:
            if reason is not None:
                self._reject(spec, reason)
        if any(reason for _, reason in refusals) or trade is None:
            return
        for kind, details in wanted:
            old = log.book.orders.get(trade.order_ids.get(kind, ""))
            if old is not None and old.state != "PENDING":
                old = None
            if details is not None:
                self._place_on_trade(kind, trade, details, old)
            elif kind in command.cancel and old is not None:
                log.cancel(old, "CLIENT_REQUEST")

    def _submit_on_trade(self, spec: OrderSpecification, old: Order | None) -> None:
        log = self.log
        trade = log.find_trade(trade_specifier(spec))
        reason = self._trade_refusal(spec, trade, replacing=False, old=old)
        if reason is not None or trade is None:
            self._reject(spec, reason or "TRADE_DOESNT_EXIST", old)
            return
        details = OnFillDetails(
            price=spec.price,
            distance=spec.distance,
            time_in_force=spec.time_in_force,
            gtd_time=spec.gtd_time,
            trigger_condition=spec.trigger_condition,
            client_extensions=spec.client_extensions,
        )
        self._place_on_trade(spec.type, trade, details, old)

    def _place_on_trade(self, kind: str, trade: Trade, details: OnFillDetails, old: Order | None) -> None:
        log = self.log
        if old is not None:
            log.cancel(old, "CLIENT_REQUEST_REPLACED", replaced_by=str(int(log.next_id) + 1))
        reason = "CLIENT_ORDER" if old is None else "REPLACEMENT"
        order = self.execution.create_trade_order(kind, trade, details, reason, replaces=old)
        if not log.market.tradeable(trade.instrument):
            return
        bid, ask = log.market.price(trade.instrument)
        long = trade.units > 0
        if triggered(order, not long, bid, ask):
            close = bid if long else ask
            if kind == "TAKE_PROFIT" and (close < trade.price if long else close > trade.price):
                log.cancel(order, "LOSING_TAKE_PROFIT")
            else:
                self.execution.execute(order, f"{kind}_ORDER", trade)

    def _trade_refusal(
        self, spec: OrderSpecification, trade: Trade | None, *, replacing: bool, old: Order | None = None
    ) -> str | None:
        """Return why an order on a trade is refused. ``replacing``: an order of that kind may be there already."""
        if trade is None or not trade.units:
            return "TRADE_DOESNT_EXIST"
        reason = reject_reason(spec, self.log.instruments[trade.instrument], self.log.book.time_ns)
        if reason is not None:
            return reason
        present = self.log.book.orders.get(trade.order_ids.get(spec.type, ""))
        if present is not None and present.state != "PENDING":
            present = None
        if old is not None and (present is None or present.id != old.id):
            return "REPLACING_TRADE_ID_INVALID"
        if present is not None and not replacing and old is None:
            return f"{spec.type}_ORDER_ALREADY_EXISTS"
        return self._client_id_refusal(spec, old or present)

    # -- making orders -------------------------------------------------------------------------------------------

    def _refusal(self, spec: OrderSpecification, old: Order | None = None) -> str | None:
        if spec.instrument is None:
            return "INSTRUMENT_MISSING"
        instrument = self.log.instruments.get(spec.instrument)
        if instrument is None:
            return "INSTRUMENT_UNKNOWN"
        if old is not None and old.instrument != spec.instrument:
            return "REPLACING_ORDER_INVALID"
        return reject_reason(spec, instrument, self.log.book.time_ns) or self._client_id_refusal(spec, old)

    def _client_id_refusal(self, spec: OrderSpecification, old: Order | None) -> str | None:
        wanted = [spec.client_extensions.id] if spec.client_extensions and spec.client_extensions.id else []
        attached: list[str] = []
        for details in (spec.take_profit_on_fill, spec.stop_loss_on_fill, spec.trailing_stop_loss_on_fill):
            if details and details.client_extensions and details.client_extensions.id:
                attached.append(details.client_extensions.id)
        if len(set(wanted + attached)) < len(wanted + attached):
            return "ORDERS_ON_FILL_DUPLICATE_CLIENT_ORDER_IDS"
        allowed = old.client_id if old else None
        taken = self.log.book.client_order_ids
        return "CLIENT_ORDER_ID_ALREADY_EXISTS" if any(i in taken and i != allowed for i in wanted) else None

    def _create(
        self,
        spec: OrderSpecification,
        origin: MarketOrderOrigin = _CLIENT,
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

    # -- refusing ------------------------------------------------------------------------------------------------

    def _reject(
        self,
        spec: OrderSpecification,
        reason: str,
        old: Order | None = None,
        origin: MarketOrderOrigin = _CLIENT,
    ) -> None:
        """Write the reject, with the values as the client gave them."""
        on_trade = spec.type in TRADE_TYPES
        self.log.write(
            ORDER_REJECTED[spec.type],
            instrument=spec.instrument,
            units=spec.units,
            price=spec.price,
            price_bound=spec.price_bound,
            distance=spec.distance,
            time_in_force=spec.time_in_force or default_time_in_force(spec.type),
            gtd_time=spec.gtd_time,
            position_fill=None if on_trade else spec.position_fill,
            trigger_condition=None if spec.type == "MARKET" else spec.trigger_condition,
            partial_fill="DEFAULT" if spec.type in ENTRY_TYPES else None,
            trade_id=None if spec.trade_id is None else str(spec.trade_id),
            client_trade_id=spec.client_trade_id,
            client_extensions=spec.client_extensions,
            trade_client_extensions=spec.trade_client_extensions,
            take_profit_on_fill=spec.take_profit_on_fill,
            stop_loss_on_fill=spec.stop_loss_on_fill,
            trailing_stop_loss_on_fill=spec.trailing_stop_loss_on_fill,
            trade_close=origin.trade_close,
            long_position_closeout=origin.long_position_closeout,
            short_position_closeout=origin.short_position_closeout,
            reason="REPLACEMENT" if old else origin.reason,
            intended_replaces_order_id=old.id if old else None,
            reject_reason=reason,
        )

    def _cancel_reject(self, specifier: str) -> None:
        by_client_id = specifier.startswith("@")
        self.log.write(
            OrderCancelReject,
            order_id=None if by_client_id else specifier,
            client_order_id=specifier[1:] if by_client_id else None,
            reject_reason="ORDER_DOESNT_EXIST",
        )

    def _pending(self, specifier: str) -> Order | None:
        order = self.log.find_order(specifier)
        return order if order is not None and order.state == "PENDING" else None
