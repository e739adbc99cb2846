"""The orders of a trade by request: made, replaced and cancelled one by one or together."""

from trading.matching import fifo
from trading.matching.book import Order, Trade
from trading.matching.commands import OrderSpecification, SetTradeOrders
from trading.matching.execution import Execution
from trading.matching.log import TransactionLog
from trading.matching.rejection import client_id_refusal, reject
from trading.matching.specifications import trade_order, trade_specifier
from trading.matching.transactions import OnFillDetails
from trading.matching.triggers import triggered
from trading.matching.validation import reject_reason


class DependentOrders:
    """Takes take-profits, stop-losses and trailing stops."""

    def __init__(self, log: TransactionLog, execution: Execution) -> None:
        self.log = log
        self.execution = execution

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
                reject(self.log, spec, reason)
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

    def submit(self, spec: OrderSpecification, old: Order | None) -> None:
        """Make an order on a trade, or put it in the place of ``old``."""
        log = self.log
        trade = log.find_trade(trade_specifier(spec))
        reason = self._trade_refusal(spec, trade, replacing=False, old=old)
        if reason is not None or trade is None:
            reject(self.log, spec, reason or "TRADE_DOESNT_EXIST", old)
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
        order = self.execution.attached.create(kind, trade, details, reason, replaces=old)
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
        return (
            fifo.protection_reason(self.log, trade, spec.type) if old is None and present is None else None
        ) or client_id_refusal(self.log, spec, old or present)
