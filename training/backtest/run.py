"""Run a rule over a market: once in full, or thousands of parameter sets at a time over all cores."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from core.domain import BarKind
from core.errors import BadInputError
from trading.matching.validation import trailing_limits
from trading.strategy.rules.catalogue import Rule, rule_of
from trading.strategy.rules.order import FIXED, KIND
from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Said, Terms
from training.backtest.kernel.batch import run_sets
from training.backtest.market import Market
from training.backtest.result import METRICS, Batch, Result, measures
from training.backtest.settings import PATHS, Account, Costs, Execution
from training.backtest.trades import closed_trades, open_trades

OPEN_AT_ONCE = 64  # trades of one instrument
_CHUNKS_PER_WORKER = 8  # sets differ in length of work: the last chunk of one core must not keep the others waiting


def run_batch(
    market: Market,
    rule: Rule | str,
    parameters: NDArray[np.float64],
    account: Account | None = None,
    costs: Costs | None = None,
    execution: Execution | None = None,
    *,
    net: bool = False,
    first: int = 0,
    workers: int | None = None,
) -> Batch:
    """Run many parameter sets of one rule, each on an account of its own.

    Args:
        market: T rows.
        rule: or its name.
        parameters: float64 [P, K], columns as ``Rule.names``.
        account, costs, execution: None for the defaults.
        net: whether to return each step's return, float64 [P, T].
        first: row from which on it is traded; the rows before only feed the rule (warm-up), and count in no measure.
        workers: threads; None for one per core. The result does not depend on it.

    Raises:
        BadInputError: a parameter, the account or the costs make no sense, or more trades are open at once than fit.
    """
    rule = rule_of(rule) if isinstance(rule, str) else rule
    table = rule.check(parameters)
    account, costs, execution = account or Account(), costs or Costs(), execution or Execution()
    arrays, terms = prepare(market, account, costs, execution, first)
    count = len(table)
    totals = np.zeros((count, c.TOTALS))
    status = np.zeros(count, np.int64)
    series = np.zeros((count, len(market))) if net else np.zeros((0, 0))
    cores = max(1, min(workers or len(os.sched_getaffinity(0)), count))
    states = rule.state_size(table)

    def some(low: int, high: int) -> None:
        said, book, plans = room_for(market, terms)
        state = np.zeros(states)
        record = no_record(len(market) if net else 0)
        run_sets(arrays, terms, said, book, record, plans, rule.number, table, state, low, high, totals, series, status)

    if cores == 1:
        some(0, count)
    else:
        edges = np.linspace(0, count, min(count, cores * _CHUNKS_PER_WORKER) + 1).astype(int).tolist()
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(some, edges[:-1], edges[1:]))
    _check_room(status)
    return Batch(measures(totals, float(account.balance)), series if net else None)


def run_one(
    market: Market,
    rule: Rule | str,
    parameters: Mapping[str, float] | NDArray[np.float64],
    account: Account | None = None,
    costs: Costs | None = None,
    execution: Execution | None = None,
    *,
    first: int = 0,
) -> Result:
    """Run one parameter set and keep its trades and its course.

    Args:
        parameters: values by name, defaults for the others; or a row float64 [K].
        market, rule, account, costs, execution, first: as for ``run_batch``.

    Raises:
        BadInputError: as for ``run_batch``.
    """
    rule = rule_of(rule) if isinstance(rule, str) else rule
    row = rule.row(parameters) if isinstance(parameters, Mapping) else rule.check(np.atleast_2d(parameters))[0]
    account, costs, execution = account or Account(), costs or Costs(), execution or Execution()
    arrays, terms = prepare(market, account, costs, execution, first)
    table = np.ascontiguousarray(row[None])
    state = np.zeros(rule.state_size(table))
    said, book, plans = room_for(market, terms)
    status, totals = np.zeros(1, np.int64), np.zeros((1, c.TOTALS))
    room = 0
    while True:
        record = whole_record(market, float(account.balance), room)
        run_sets(
            arrays, terms, said, book, record, plans, rule.number, table, state, 0, 1, totals, np.zeros((0, 0)), status
        )
        if book.cash[c.RECORDED] <= room:
            break
        room = int(book.cash[c.RECORDED])
    _check_room(status)
    values = measures(totals, float(account.balance))[0]
    steps = np.array([float(instrument.unit_step) for instrument in market.instruments])
    return Result(
        rule=rule.name,
        parameters=dict(zip(rule.names, row.tolist(), strict=True)),
        instruments=market.names,
        currency=market.currency,
        trades=(*closed_trades(market, record), *open_trades(market, arrays, book)),
        time_ns=market.time_ns,
        equity=record.equity,
        net=record.net,
        exposure=record.exposure,
        held=record.held * steps,
        paths=record.paths,
        balance=Decimal(int(book.cash[c.BALANCE])).scaleb(-4),
        metrics=dict(zip(METRICS, values.tolist(), strict=True)),
    )


def prepare(
    market: Market, account: Account, costs: Costs, execution: Execution, first: int
) -> tuple[MarketArrays, Terms]:
    """Return what the kernel works on.

    Raises:
        BadInputError: the account or the costs make no sense, or ``first`` is no row.
    """
    account.check()
    costs.check()
    if not 0 <= first < len(market):
        raise BadInputError(f"trading from row {first} of a market of {len(market)}: leave rows to trade")
    if market.kind is BarKind.FIXING and execution.fill != "close":
        execution = Execution(fill="close", path=execution.path)  # one price a day: it is the next quote as well
    traded = market.widened(costs.spread_multiple)
    instruments = market.instruments
    commission, commission_decimals = _whole(Decimal(str(costs.commission_per_million)))
    default = (costs.default_financing_rate, costs.default_financing_rate)
    pairs = [costs.financing_rates.get(name, default) for name in market.names]
    rates = [[Decimal(str(rate)) for rate in pair] for pair in pairs]
    finest = max(_whole(rate)[1] for pair in rates for rate in pair)
    fixed = np.zeros((len(instruments), c.RATE_SHORT + 1), np.int64)
    scales = np.zeros((len(instruments), c.FULL + 1))
    for n, item in enumerate(instruments):
        low, high = trailing_limits(item)
        fixed[n, c.ROUTE] = market.route[n]
        fixed[n, c.DECIMALS] = item.display_precision + item.units_precision
        fixed[n, c.PRICE_DECIMALS] = item.display_precision
        fixed[n, c.SHORTEST], fixed[n, c.LONGEST] = int(low / item.tick), int(high / item.tick)
        fixed[n, c.MINIMUM] = int(item.minimum_units / item.unit_step)
        fixed[n, c.MAXIMUM] = int(item.maximum_order_units / item.unit_step)
        fixed[n, c.SLIP] = round(costs.slippage_pips * float(item.pip / item.tick))
        fixed[n, c.LIQUIDITY] = int(account.liquidity / item.unit_step)
        fixed[n, c.RATE_LONG], fixed[n, c.RATE_SHORT] = (int(rate.scaleb(finest)) for rate in rates[n])
        step = float(item.unit_step)
        scales[n, c.TICK], scales[n, c.STEP] = float(item.tick), step
        scales[n, c.MARGIN_RATE] = float(max(item.margin_rate, account.margin_rate))
        scales[n, c.FULL] = account.sizing.units / step
    days = np.stack([traded.days_before, traded.days_after], axis=1)
    arrays = MarketArrays(
        rows=traded.rows,
        prices=traded.prices,
        present=traded.present,
        factors=traded.factors,
        middles=traded.middles,
        bases=traded.bases,
        days=days if costs.financing else np.zeros_like(days),
        fixed=fixed,
        scales=scales,
    )
    terms = Terms(
        balance=int(account.balance.scaleb(4)),
        commission=commission,
        commission_decimals=commission_decimals,
        financing_decimals=finest,
        sizing=account.sizing.columns(),
        path=PATHS[execution.path],
        at_close=execution.fill == "close",
        first=first,
    )
    return arrays, terms


def room_for(market: Market, terms: Terms) -> tuple[Said, Book, NDArray[np.int64]]:
    """Return room for what a rule says, for the state of a run, and for the orders of a row."""
    shape = (len(market), len(market.instruments))
    by_volatility = terms.sizing[KIND] != FIXED
    said = Said(
        np.zeros(shape, np.uint8),
        np.zeros(shape),
        np.zeros((*shape, 4)),
        np.zeros(shape if by_volatility else (0, 0)),
    )
    return said, empty_book(shape[1], OPEN_AT_ONCE), np.zeros((shape[1], 5), np.int64)


def empty_book(instruments: int, open_at_once: int) -> Book:
    """Return the state of a run before its first row, with room for so many open trades of an instrument."""
    return Book(
        np.zeros((instruments, open_at_once, c.TRADE), np.int64),
        np.zeros((instruments, open_at_once, 4)),
        np.zeros((instruments, c.DESK), np.int64),
        np.zeros(3, np.int64),
        np.zeros(c.TOTALS),
    )


def whole_record(market: Market, balance: float, room: int) -> Record:
    """Return a record of every row, and of so many closed trades."""
    shape = (len(market), len(market.instruments))
    return Record(
        np.zeros((room, 10), np.int64),
        np.zeros((room, 4)),
        np.full(shape[0], balance),
        np.zeros(shape[0]),
        np.zeros(shape[0]),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int8),
    )


def no_record(steps: int) -> Record:
    """Return a record that takes nothing, or with ``steps`` the return of each."""
    none = np.zeros(0)
    return Record(
        np.zeros((0, 10), np.int64),
        np.zeros((0, 4)),
        none,
        none,
        np.zeros(steps),
        np.zeros((0, 0), np.int64),
        np.zeros((0, 0), np.int8),
    )


def _whole(value: Decimal) -> tuple[int, int]:
    """Return a number as a whole one of 10^-decimals, and the decimals."""
    decimals = max(-int(value.as_tuple().exponent), 0)
    return int(value.scaleb(decimals)), decimals


def _check_room(status: NDArray[np.int64]) -> None:
    full = np.flatnonzero(status)
    if full.size:
        raise BadInputError(
            f"parameter set {int(full[0])} has more than {OPEN_AT_ONCE} trades open in one instrument: raise "
            "sizing.rebalance_threshold"
        )
