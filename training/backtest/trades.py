"""The kernel's columns as trades."""

from decimal import Decimal

from training.backtest.kernel import arrays as columns
from training.backtest.kernel.arrays import Book, MarketArrays, Record
from training.backtest.kernel.fills import factors_of
from training.backtest.kernel.money import profit_money
from training.backtest.market import Market
from training.backtest.result import REASONS, Trade

_MONEY = Decimal("0.0001")


def _moment(market: Market, row: int, inside: int) -> int:
    return int(market.open_ns[row] if inside == 0 else market.time_ns[row])


def closed_trades(market: Market, record: Record) -> list[Trade]:
    """Return the recorded trades in the order they were closed."""
    trades: list[Trade] = []
    for numbers, amounts in zip(record.numbers.tolist(), record.amounts.tolist(), strict=True):
        trades.append(_trade(market, numbers, amounts))
    return trades


def open_trades(market: Market, arrays: MarketArrays, book: Book) -> list[Trade]:
    """Return what was still open, at the profit of closing it at the last quote."""
    trades: list[Trade] = []
    last = len(market) - 1
    for n in range(len(market.instruments)):
        bid, ask = int(book.desk[n, columns.BID]), int(book.desk[n, columns.ASK])
        for k in range(int(book.desk[n, columns.COUNT])):
            gain, loss = factors_of(arrays.fixed, arrays.factors, n, last, columns.AT_CLOSE, bid, ask)
            row: list[int] = book.trades[n, k].tolist()
            units, entry = row[columns.SIZE], row[columns.PRICE]
            price = bid if units > 0 else ask
            decimals = int(arrays.fixed[n, columns.DECIMALS])
            profit = int(profit_money((price - entry) * units, gain, loss, decimals))
            numbers = [
                n, units, row[columns.ROW], row[columns.INSIDE], last, 2, entry, price, profit, columns.OPEN
            ]  # fmt: skip
            trades.append(_trade(market, numbers, book.costs[n, k].tolist()))
    return trades


def _trade(market: Market, numbers: list[int], amounts: list[float]) -> Trade:
    instrument = market.instruments[numbers[columns.INSTRUMENT]]
    tick, step = instrument.tick, instrument.unit_step
    entry_row, exit_row = numbers[columns.ENTRY_ROW], numbers[columns.EXIT_ROW]
    return Trade(
        instrument=instrument.name,
        entry_ns=_moment(market, entry_row, numbers[columns.ENTRY_INSIDE]),
        exit_ns=_moment(market, exit_row, numbers[columns.EXIT_INSIDE]),
        entry_row=entry_row,
        exit_row=exit_row,
        entry_inside=numbers[columns.ENTRY_INSIDE] == 1,
        exit_inside=numbers[columns.EXIT_INSIDE] == 1,
        units=numbers[columns.UNITS] * step,
        entry_price=numbers[columns.ENTRY] * tick,
        exit_price=numbers[columns.EXIT] * tick,
        profit=numbers[columns.PROFIT] * _MONEY,
        spread_cost=amounts[columns.SPREAD_COST],
        slippage_cost=amounts[columns.SLIPPAGE_COST],
        commission=amounts[columns.COMMISSION_COST],
        financing=amounts[columns.FINANCING],
        reason=REASONS[numbers[columns.REASON]],
    )
