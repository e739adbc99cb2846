"""Whatever is thrown at the exchange: money adds up, positions are the sum of fills, the log has no gap, and a
snapshot is the whole state."""

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import from_rfc3339
from core.domain import Quote, default_instrument
from trading.matching.book import AccountConfiguration
from trading.matching.commands import (
    AnyCommand,
    Cancel,
    ClosePosition,
    CloseTrade,
    OrderSpecification,
    SetTradeOrders,
    Submit,
    Ticks,
)
from trading.matching.exchange import Exchange
from trading.matching.transactions import (
    AnyTransaction,
    ClientExtensions,
    DailyFinancing,
    OnFillDetails,
    OrderCancel,
    OrderFill,
    OrderTransaction,
    TransferFunds,
)

START = from_rfc3339("2024-03-05T10:00:00Z")
SECOND = 1_000_000_000
INSTRUMENTS = {name: default_instrument(name) for name in ("EUR_JPY", "EUR_USD", "USD_JPY")}
MIDDLE = {"EUR_JPY": 165_000, "EUR_USD": 110_000, "USD_JPY": 150_000}  # points

names = st.sampled_from(sorted(INSTRUMENTS))
# Moves of up to 5 % so that stops, targets and the margin close-out are all met.
moves = st.tuples(st.just("quote"), names, st.integers(-500, 500), st.integers(1, 40))
units = st.one_of(st.integers(-60_000, 60_000).filter(bool), st.sampled_from([-900_000, 900_000]))
pips = st.integers(5, 400)
orders = st.tuples(
    st.just("order"),
    names,
    units,
    st.sampled_from(["MARKET", "LIMIT", "STOP", "MARKET_IF_TOUCHED"]),
    st.integers(-200, 200),
    st.one_of(st.none(), pips),
    st.one_of(st.none(), pips),
    st.one_of(st.none(), pips),
    st.one_of(st.none(), st.integers(0, 5)),
)
others = st.one_of(
    st.tuples(st.just("close"), names),
    st.tuples(st.just("trade"), st.integers(0, 30), st.one_of(st.none(), st.integers(1, 50_000))),
    st.tuples(st.just("stop"), st.integers(0, 30), pips),
    st.tuples(st.just("cancel"), st.integers(1, 60)),
    st.tuples(st.just("wait"), st.integers(1, 200_000)),
)
scripts = st.lists(st.one_of(moves, moves, orders, others), min_size=1, max_size=40)


class Player:
    """Turns a script into commands; everything it needs to know it keeps itself, so that it can be played anywhere."""

    def __init__(self) -> None:
        self.now = START
        self.middle = dict(MIDDLE)

    def opening(self) -> list[AnyCommand]:
        return [self._tick(name, 5) for name in INSTRUMENTS]

    def _tick(self, name: str, half: int) -> Ticks:
        self.now += SECOND
        scale = 10 ** INSTRUMENTS[name].display_precision
        bid, ask = (self.middle[name] - half) / scale, (self.middle[name] + half) / scale
        return Ticks(time_ns=self.now, quotes=(Quote(name, self.now, self.now, bid, ask, simulated=True),))

    def _price(self, name: str, points: int) -> Decimal:
        return Decimal(points).scaleb(-INSTRUMENTS[name].display_precision)

    def command(self, step: tuple[object, ...], trades: list[str]) -> AnyCommand:
        match step:
            case ("quote", str(name), int(move), int(half)):
                self.middle[name] = max(1000, self.middle[name] + self.middle[name] * move // 10_000)
                return self._tick(name, half)
            case ("order", str(name), int(size), str(kind), int(away), stop, target, trailing, label):
                return Submit(
                    time_ns=self.now, order=self._order(name, size, kind, away, stop, target, trailing, label)
                )
            case ("close", str(name)):
                return ClosePosition(time_ns=self.now, instrument=name)
            case ("trade", int(number), size):
                trade = trades[number % len(trades)] if trades else "0"
                return CloseTrade(time_ns=self.now, trade=trade, units=None if size is None else Decimal(str(size)))
            case ("stop", int(number), int(away)):
                trade = trades[number % len(trades)] if trades else "0"
                details = OnFillDetails(price=self._price("EUR_USD", self.middle["EUR_USD"] - away))
                return SetTradeOrders(time_ns=self.now, trade=trade, stop_loss=details)
            case ("cancel", int(number)):
                return Cancel(time_ns=self.now, order=str(number))
            case ("wait", int(seconds)):
                self.now += seconds * SECOND
                return Ticks(time_ns=self.now)
        raise AssertionError(step)

    def _order(
        self, name: str, size: int, kind: str, away: int, stop: object, target: object, trailing: object, label: object
    ) -> OrderSpecification:
        middle, sign = self.middle[name], 1 if size > 0 else -1
        details = {
            "stop_loss_on_fill": None
            if stop is None
            else OnFillDetails(price=self._price(name, middle - sign * 10 * int(str(stop)))),
            "take_profit_on_fill": None
            if target is None
            else OnFillDetails(price=self._price(name, middle + sign * 10 * int(str(target)))),
            "trailing_stop_loss_on_fill": None
            if trailing is None
            else OnFillDetails(distance=self._price(name, 10 * int(str(trailing)))),
        }
        return OrderSpecification(
            type=kind,
            instrument=name,
            units=Decimal(size),
            price=None if kind == "MARKET" else self._price(name, middle + 10 * away),
            time_in_force="GFD" if kind != "MARKET" and away % 2 else None,
            client_extensions=None if label is None else ClientExtensions(id=f"c{label}"),
            **details,
        )


def play(exchange: Exchange, player: Player, script: list[tuple[object, ...]]) -> list[AnyCommand]:
    commands: list[AnyCommand] = []
    for step in script:
        command = player.command(step, list(exchange.book.trades))
        commands.append(command)
        exchange.apply(command)
    return commands


RULES: list[dict[str, Any]] = [
    {},
    {"commission_per_million": Decimal(25), "financing": True},
    {"hedging": True, "financing": True},
    {"fifo": True},
    {"liquidity": Decimal(7_000)},
    {"hedging": True, "liquidity": Decimal(20_000), "weekend_halt": True},
]
rules = st.sampled_from(RULES)


def opened(**chosen: Any) -> tuple[Exchange, Player, list[AnyCommand]]:
    player = Player()
    configuration = AccountConfiguration(balance=Decimal(20_000), **chosen)
    exchange = Exchange(INSTRUMENTS, configuration, START)
    commands = player.opening()
    for command in commands:
        exchange.apply(command)
    return exchange, player, commands


@settings(max_examples=60)
@given(scripts, rules)
def test_the_books_balance(script: list[tuple[object, ...]], chosen: dict[str, Any]) -> None:
    exchange, player, _ = opened(**chosen)
    play(exchange, player, script)
    log = exchange.transactions
    assert [item.number for item in log] == list(range(1, len(log) + 1))
    assert [item.time for item in log] == sorted(item.time for item in log)
    assert all(item.number >= int(item.batch_id) for item in log)
    balance = Decimal(0)
    sizes = dict.fromkeys(INSTRUMENTS, Decimal(0))
    for item in log:
        if isinstance(item, TransferFunds):
            balance += item.amount
        elif isinstance(item, DailyFinancing):
            assert item.financing == sum((part.financing for part in item.position_financings), Decimal(0))
            balance += item.financing
            assert item.account_balance == balance
        elif isinstance(item, OrderFill):
            parts = (*(item.trades_closed or ()), *([item.trade_reduced] if item.trade_reduced else []))
            assert item.pl == sum((part.realized_pl for part in parts), Decimal(0))
            turned = sum((part.units for part in parts), Decimal(0))
            turned += item.trade_opened.units if item.trade_opened else Decimal(0)
            assert turned == item.units != 0
            balance += item.pl + item.financing - item.commission
            sizes[item.instrument] += item.units
            assert item.account_balance == balance
            side = item.full_price.asks if item.units > 0 else item.full_price.bids
            assert item.price == side[0].price
    book = exchange.book
    assert book.balance == balance == book.configuration.balance + book.pl + book.financing - book.commission
    value = exchange.valuation()
    assert value.nav == balance + value.unrealized_pl and value.margin_available >= 0
    for name, size in sizes.items():
        trades = exchange.log.open_trades.get(name, {}).values()
        assert sum((trade.units for trade in trades), Decimal(0)) == size
        assert book.configuration.hedging or len({trade.units > 0 for trade in trades}) <= 1  # netting: one side only
    assert sum((p.long.pl + p.short.pl for p in book.positions.values()), Decimal(0)) == book.pl
    sides = [side for position in book.positions.values() for side in (position.long, position.short)]
    assert sum((side.financing for side in sides), Decimal(0)) == book.financing
    offered = book.configuration.liquidity
    assert all(size >= 0 for taken in book.liquidity_taken.values() for size in taken)
    closing = {"TAKE_PROFIT_ORDER", "STOP_LOSS_ORDER", "TRAILING_STOP_LOSS_ORDER", "MARKET_ORDER_MARGIN_CLOSEOUT"}
    assert all(abs(i.units) <= offered for i in log if isinstance(i, OrderFill) and i.reason not in closing)


@settings(max_examples=60)
@given(scripts, rules)
def test_every_order_ends_once_or_rests(script: list[tuple[object, ...]], chosen: dict[str, Any]) -> None:
    exchange, player, _ = opened(**chosen)
    play(exchange, player, script)
    ended: dict[str, AnyTransaction] = {}
    filled: dict[str, Decimal] = {}
    for item in exchange.transactions:
        if isinstance(item, OrderFill):
            filled[item.order_id] = filled.get(item.order_id, Decimal(0)) + item.units
            order = exchange.book.orders[item.order_id]
            assert order.units is None or abs(filled[item.order_id]) <= abs(order.units)  # never more than asked for
            if order.filling_transaction_id != item.id:
                assert order.filled_units is not None  # a part; the order went on
                continue
        if isinstance(item, OrderFill | OrderCancel):
            assert item.order_id not in ended
            ended[item.order_id] = item
    resting = {number for orders in exchange.log.pending.values() for number in orders}
    created = {
        item.id for item in exchange.transactions if isinstance(item, OrderTransaction) and item.reject_reason is None
    }
    assert created == set(exchange.book.orders) == resting | set(ended) and not resting & set(ended)
    for number, order in exchange.book.orders.items():
        assert order.state == ("PENDING" if number in resting else order.state) != ""
        if order.trade_id is not None and order.state == "PENDING":
            assert exchange.book.trades[order.trade_id].units != 0  # no stop outlives its trade


@settings(max_examples=40)
@given(scripts, st.integers(0, 40), rules)
def test_a_snapshot_is_the_whole_state(script: list[tuple[object, ...]], cut: int, chosen: dict[str, Any]) -> None:
    exchange, player, _ = opened(**chosen)
    play(exchange, player, script[:cut])
    other = Exchange.restore(INSTRUMENTS, exchange.snapshot())
    assert other.snapshot() == exchange.snapshot()
    for step in script[cut:]:
        command = player.command(step, list(exchange.book.trades))
        assert msgspec.json.encode(other.apply(command)) == msgspec.json.encode(exchange.apply(command))
    assert other.snapshot() == exchange.snapshot()


@settings(max_examples=40)
@given(scripts, rules)
def test_the_journal_rebuilds_the_state(script: list[tuple[object, ...]], chosen: dict[str, Any]) -> None:
    exchange, player, commands = opened(**chosen)
    commands += play(exchange, player, script)
    written = [msgspec.json.encode(command) for command in commands]
    again = Exchange(INSTRUMENTS, exchange.book.configuration, START)
    for line in written:
        again.apply(msgspec.json.decode(line, type=AnyCommand))
    assert again.snapshot() == exchange.snapshot()


@settings(max_examples=40)
@given(scripts, rules)
def test_a_quote_that_is_passed_over_would_have_done_nothing(
    script: list[tuple[object, ...]], chosen: dict[str, Any]
) -> None:
    quick, player, _ = opened(**chosen)
    slow, _, _ = opened(**chosen)
    for step in script:
        command = player.command(step, list(quick.book.trades))
        slow.log.windows.clear()  # every order is looked at
        slow.margin._near = lambda: True  # type: ignore[method-assign] - the exact sum at every quote
        assert msgspec.json.encode(quick.apply(command)) == msgspec.json.encode(slow.apply(command))
    assert quick.snapshot() == slow.snapshot()
