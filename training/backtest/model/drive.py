"""Drive a strategy that decides in Python over the rows of a market; fills, costs and margin are the engine's.

With ``Execution.fill`` ``open`` a strategy decides on a row when the next one opens, at its opening quotes, as the
trading loop does whose next tick closes the bar; with ``close`` at the row's own closing quotes. What it sees are the
quotes of the market as it is; a ``spread_multiple`` widens only what is traded at, and so the equity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from core.domain import Instrument, OrderRequest, Quote
from core.errors import BadInputError
from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Terms
from training.backtest.market import Market
from training.backtest.model import rows
from training.backtest.result import METRICS, Result, measures
from training.backtest.run import empty_book, prepare, whole_record
from training.backtest.settings import Account, Costs, Execution
from training.backtest.trades import closed_trades, open_trades

_OPEN_AT_ONCE = 512  # trades of one instrument: each addition to a position is a trade of its own


NONE = np.zeros((0, 6), np.int64)
End = tuple[float, float, float]  # equity, exposure and margin


class View(NamedTuple):
    """What a strategy sees when it decides: ``positions`` are signed units of what is not flat."""

    row: int
    time_ns: int
    equity: float
    positions: dict[str, Decimal]
    quotes: dict[str, Quote]


class Policy(Protocol):
    """A strategy: it is asked after the rows where ``asked`` is true, and answers with orders at the market."""

    name: str
    asked: NDArray[np.bool_]  # [T]

    def decide(self, view: View) -> Sequence[OrderRequest]:
        """Return the orders that follow from the row."""
        ...


@dataclass
class _Run:
    """The state of one run."""

    market: Market
    seen_bid: NDArray[np.float64]  # [T, N] at the moment of decision, of the row that trades
    seen_ask: NDArray[np.float64]
    arrays: MarketArrays
    terms: Terms
    book: Book
    record: Record
    course: NDArray[np.float64]

    def view(self, row: int, at: int, equity: float) -> View:
        """Return what can be seen at row ``at`` of the decision that follows from ``row``."""
        market = self.market
        held = self.book.desk[:, c.HELD].tolist()
        positions = {
            item.name: units * item.unit_step for item, units in zip(market.instruments, held, strict=True) if units
        }
        time_ns = int(market.time_ns[at] if self.terms.at_close else market.open_ns[at])
        quotes = {
            name: Quote(name, time_ns, time_ns, bid, ask)
            for name, bid, ask in zip(market.names, self.seen_bid[at].tolist(), self.seen_ask[at].tolist(), strict=True)
            if bid > 0.0
        }
        return View(row, int(market.time_ns[row]), equity, positions, quotes)

    def go(
        self, phase: int, row: int, last: int = 0, orders: NDArray[np.int64] = NONE, end: End = (0.0, 0.0, 0.0)
    ) -> End:
        """Go through a phase of ``rows.go``; return equity, exposure and margin."""
        return rows.go(self.arrays, self.terms, self.book, self.record, self.course, orders, phase, row, last, *end)

    def send(self, phase: int, row: int, requests: Sequence[OrderRequest]) -> End | None:
        """Send orders, if there are any."""
        return self.go(phase, row, orders=self.orders(requests)) if requests else None

    def orders(self, requests: Sequence[OrderRequest]) -> NDArray[np.int64]:
        """Return orders as the compiled rows take them, in the order of the instruments."""
        places = {name: place for place, name in enumerate(self.market.names)}
        table = [_columns(order, places[order.instrument], self.market.instruments) for order in requests]
        return np.array(sorted(table), np.int64).reshape(len(table), 6)


def run_policy(
    market: Market,
    policy: Policy,
    account: Account | None = None,
    costs: Costs | None = None,
    execution: Execution | None = None,
) -> Result:
    """Run a strategy over all rows of a market and keep its trades and its course.

    Raises:
        BadInputError: account or costs make no sense, or a position was made of too many pieces.
    """
    account, costs, execution = account or Account(), costs or Costs(), execution or Execution()
    run = _start(market, account, costs, execution)
    at_close = run.terms.at_close
    row = 0
    while row < len(market):
        speaker = row if at_close else row - 1
        if speaker < 0 or not policy.asked[speaker]:
            last = row + 1
            while last < len(market) and not policy.asked[last if at_close else last - 1]:
                last += 1
            run.go(rows.COAST, row, last)
            row = last
            continue
        equity = run.go(rows.BEGIN, row)[0]
        if not at_close:
            run.send(rows.SEND_AT_OPEN, row, policy.decide(run.view(speaker, row, equity)))
        end = run.go(rows.END, row)
        if at_close:
            end = run.send(rows.SEND_AT_CLOSE, row, policy.decide(run.view(speaker, row, end[0]))) or end
        run.go(rows.WRITE, row, end=end)
        row += 1
    if run.book.cash[c.OVERFLOW]:
        raise BadInputError(
            f"{policy.name} has more than {_OPEN_AT_ONCE} trades open in one instrument: raise "
            "strategy.rebalance_threshold"
        )
    return _result(market, policy, account, run)


def _start(market: Market, account: Account, costs: Costs, execution: Execution) -> _Run:
    arrays, terms = prepare(market, account, costs, execution, 0)
    count = len(market.instruments)
    book = empty_book(count, _OPEN_AT_ONCE)
    book.cash[c.BALANCE] = terms.balance
    room = 2 * len(market) * count  # every fill opens at most one trade and leaves at most one closed in part
    record = whole_record(market, float(account.balance), room)
    course = np.zeros(rows.COURSE)
    course[rows.BEFORE] = course[rows.PEAK] = float(account.balance)
    bid, ask = _seen(market, terms.at_close)
    return _Run(market, bid, ask, arrays, terms, book, record, course)


def _seen(market: Market, at_close: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the standing quotes at the moment each row trades, float64 [T, N]; 0 before the first."""
    here = market.present.astype(bool)
    places = np.maximum.accumulate(np.where(here, np.arange(len(market))[:, None], -1), axis=0)
    scale = np.array([10.0**instrument.display_precision for instrument in market.instruments])
    quotes: list[NDArray[np.float64]] = []
    for opened, closed in ((c.BID_OPEN, c.BID_CLOSE), (c.ASK_OPEN, c.ASK_CLOSE)):
        close = np.take_along_axis(market.prices[:, :, closed], np.maximum(places, 0), axis=0)
        standing = np.where(places >= 0, close, 0)
        if not at_close:
            before = np.concatenate([np.zeros((1, standing.shape[1]), standing.dtype), standing[:-1]])
            standing = np.where(here, market.prices[:, :, opened], before)
        quotes.append(standing / scale)  # the double nearest to the price as it is written
    return quotes[0], quotes[1]


def _columns(order: OrderRequest, place: int, instruments: Sequence[Instrument]) -> list[int]:
    instrument = instruments[place]

    def ticks(price: Decimal | None) -> int:
        return 0 if price is None else int(price / instrument.tick)

    return [
        place,
        int(order.units / instrument.unit_step),
        ticks(order.stop_loss_price),
        ticks(order.take_profit_price),
        ticks(order.trailing_stop_distance),
        ticks(order.price_bound),
    ]


def _result(market: Market, policy: Policy, account: Account, run: _Run) -> Result:
    record, book, course, totals = run.record, run.book, run.course, run.book.totals
    totals[c.SUM_RETURNS], totals[c.SUM_SQUARES] = course[rows.TOTAL], course[rows.SQUARES]
    totals[c.PEAK], totals[c.DRAWDOWN] = course[rows.PEAK], course[rows.DRAWDOWN]
    totals[c.EXPOSED], totals[c.EXPOSURE] = course[rows.EXPOSED], course[rows.EXPOSURE]
    totals[c.STEPS] = len(market)
    equity = float(course[rows.BEFORE])
    totals[c.EQUITY], totals[c.CASH] = equity, float(book.cash[c.BALANCE]) * 1e-4
    totals[c.RUINED] = 1.0 if equity <= 0.0 else 0.0
    count = int(book.cash[c.RECORDED])
    kept = record._replace(numbers=record.numbers[:count], amounts=record.amounts[:count])
    values = measures(totals[None], float(account.balance))[0]
    steps = np.array([float(instrument.unit_step) for instrument in market.instruments])
    return Result(
        rule=policy.name,
        parameters={},
        instruments=market.names,
        currency=market.currency,
        trades=(*closed_trades(market, kept), *open_trades(market, run.arrays, book)),
        time_ns=market.time_ns,
        equity=record.equity,
        net=record.net,
        exposure=record.exposure,
        held=record.held * steps,
        paths=record.paths,
        balance=Decimal(int(book.cash[c.BALANCE])).scaleb(-4),
        metrics=dict(zip(METRICS, values.tolist(), strict=True)),
    )
