"""What is done to the account rather than traded in it: funds, name and margin rate, halts, faults put into the log."""

from decimal import Decimal
from typing import Any

from trading.matching.commands import Configure, Halt, SetLiquidity
from trading.matching.log import TransactionLog
from trading.matching.transactions import ClientConfigure, ClientConfigureReject, TransferFunds, TransferFundsReject
from trading.matching.valuation import value_account
from trading.matching.wire import ZERO_MONEY, money


def move_funds(log: TransactionLog, amount: Decimal) -> None:
    """Add money, or take what may be withdrawn."""
    book = log.book
    reason: str | None = None
    if not amount.is_finite() or not money(amount):
        amount, reason = (amount if amount.is_finite() else ZERO_MONEY), "AMOUNT_INVALID"
    elif amount < 0 and -amount > value_account(book, log.market, log.open_trades).withdrawal_limit:
        reason = "INSUFFICIENT_FUNDS"
    if reason is not None:
        log.write(TransferFundsReject, amount=money(amount), funding_reason="CLIENT_FUNDING", reject_reason=reason)
        return
    book.balance += money(amount)
    log.write(TransferFunds, amount=money(amount), funding_reason="CLIENT_FUNDING", account_balance=book.balance)


def configure(log: TransactionLog, command: Configure) -> None:
    """Change the account's name or margin rate; a rate that would call or close out the margin is refused."""
    book, rate = log.book, command.margin_rate
    fields: dict[str, Any] = {"alias": command.alias, "margin_rate": rate}
    reason = None
    if rate is not None and not (rate.is_finite() and 0 < rate <= 1):
        reason = "MARGIN_RATE_INVALID"
    elif rate is None and command.alias is None:
        reason = "CLIENT_CONFIGURE_DATA_MISSING"
    elif rate is not None and log.open_trades:
        before, book.margin_rate = book.margin_rate, rate
        value = value_account(book, log.market, log.open_trades)
        book.margin_rate = before
        if value.closeout_percent >= 1:
            reason = "MARGIN_RATE_WOULD_TRIGGER_CLOSEOUT"
        elif value.call_percent >= 1:
            reason = "MARGIN_RATE_WOULD_TRIGGER_MARGIN_CALL"
    if reason is not None:
        log.write(ClientConfigureReject, reject_reason=reason, **fields)
        return
    book.margin_rate = book.margin_rate if rate is None else rate
    book.alias = book.alias if command.alias is None else command.alias
    log.trades_version += 1  # the margin of what is open is another one now
    log.write(ClientConfigure, **fields)


def halt(log: TransactionLog, command: Halt) -> None:
    """Stop or resume trading in an instrument."""
    book = log.book
    book.halted_until.pop(command.instrument, None)
    if command.halted:
        if command.instrument not in book.halted:
            book.halted.append(command.instrument)
        if command.until_ns is not None:
            book.halted_until[command.instrument] = command.until_ns
    elif command.instrument in book.halted:
        book.halted.remove(command.instrument)


def set_liquidity(log: TransactionLog, command: SetLiquidity) -> None:
    """Change how much the coming quotes are good for; what the standing ones gave stays given."""
    log.book.liquidity = command.units
