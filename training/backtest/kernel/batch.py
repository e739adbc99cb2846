"""The compiled entry: some parameter sets one after the other, without the interpreter's lock."""

from trading.strategy.rules.order import DECAY, FIXED, KIND
from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Said, Terms
from training.backtest.kernel.borrowed import borrowed
from training.backtest.kernel.compilation import Array, compiled, entry, inlined
from training.backtest.kernel.loop import run_rows
from training.backtest.kernel.signals import take_bars


@inlined
def _market(market: MarketArrays) -> MarketArrays:
    return MarketArrays(
        borrowed(market.rows),
        borrowed(market.prices),
        borrowed(market.present),
        borrowed(market.factors),
        borrowed(market.middles),
        borrowed(market.bases),
        borrowed(market.days),
        borrowed(market.fixed),
        borrowed(market.scales),
    )


@inlined
def _terms(terms: Terms) -> Terms:
    return Terms(
        terms.balance,
        terms.commission,
        terms.commission_decimals,
        terms.financing_decimals,
        borrowed(terms.sizing),
        terms.path,
        terms.at_close,
        terms.first,
    )


@inlined
def _said(said: Said) -> Said:
    return Said(borrowed(said.words), borrowed(said.weights), borrowed(said.distances), borrowed(said.volatilities))


@inlined
def _book(book: Book) -> Book:
    return Book(
        borrowed(book.trades), borrowed(book.costs), borrowed(book.desk), borrowed(book.cash), borrowed(book.totals)
    )


@inlined
def _record(record: Record) -> Record:
    return Record(
        borrowed(record.numbers),
        borrowed(record.amounts),
        borrowed(record.equity),
        borrowed(record.exposure),
        borrowed(record.net),
        borrowed(record.held),
        borrowed(record.paths),
    )


@compiled
def run_set(
    market: MarketArrays,
    terms: Terms,
    said: Said,
    book: Book,
    record: Record,
    plans: Array,
    rule: int,
    parameters: Array,
    state: Array,
) -> None:
    """Run one parameter set on a book made new; all arrays borrowed."""
    book.desk.fill(0)
    book.totals.fill(0.0)
    book.cash.fill(0)
    book.cash[c.BALANCE] = terms.balance
    decay = terms.sizing[DECAY] if terms.sizing[KIND] != FIXED else 0.0
    take_bars(market, said, rule, parameters, state, decay)
    run_rows(market, terms, said, book, record, plans)


@entry
def run_sets(
    market: MarketArrays,
    terms: Terms,
    said: Said,
    book: Book,
    record: Record,
    plans: Array,
    rule: int,
    table: Array,
    state: Array,
    first: int,
    last: int,
    totals: Array,
    net: Array,
    status: Array,
) -> None:
    """Run the sets ``first`` to ``last`` of a table.

    Args:
        market, terms: of all sets.
        said, book, plans, state: room for one set, used again by the next.
        record: where a set is written down; of more than one, the last.
        rule: number of the rule; ``table`` float64 [P, K] its parameters.
        totals: float64 [P, TOTALS], written.
        net: float64 [P, T], written; with no rows nothing is.
        status: int64 [P], written: whether more was open at once than there is room for.
    """
    here, account, words = _market(market), _terms(terms), _said(said)
    state_of, memory, room, orders = _book(book), borrowed(state), _record(record), borrowed(plans)
    for p in range(first, last):
        parameters = table[p]
        run_set(here, account, words, state_of, room, orders, rule, parameters, memory)
        if len(net):
            for row in range(net.shape[1]):
                net[p, row] = room.net[row]
        for column in range(c.TOTALS):
            totals[p, column] = state_of.totals[column]
        status[p] = state_of.cash[c.OVERFLOW]
