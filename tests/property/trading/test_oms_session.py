"""Random sessions of one desk: orders, changes, a market that moves, a network that loses, processes that die.

The broker's own log is the judge: whatever was lost, late or double, in the end both must agree, and no decision may
have had two orders.
"""

import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oms_room import Network, Room

from core.domain import OrderFilled, OrderRequest, OrderState, OrderType, PositionFill, TimeInForce
from core.journal import read_entries
from trading import records
from trading.matching.book import AccountConfiguration
from trading.oms.identity import amended_order_id
from trading.risk.limits import RiskState
from trading.state import SessionState

D = Decimal
FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
POINTS = st.integers(-30, 30)
UNITS = st.sampled_from([-900, -300, -100, 100, 300, 900])
FINAL = {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED}


class Session(RuleBasedStateMachine):
    """EUR_USD moves by points of 0.0001 around 1.1; a quote is good for 500 units, so that IOC orders leave rests."""

    @initialize(hedging=st.booleans())
    def begin(self, hedging: bool) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=FOLDER)
        self.room = Room(Path(self.folder.name), AccountConfiguration(liquidity=D(500), hedging=hedging))
        self.middle = 11_000
        self.numbers = 0
        self.final: dict[str, OrderState] = {}

    def key(self) -> str:
        self.numbers += 1
        return f"d:{self.numbers}"

    def price(self, points: int) -> Decimal:
        return D(self.middle + points).scaleb(-4)

    def working(self) -> list[str]:
        return [order.key for order in self.room.desk.state.book.open()]

    # -- the desk's own acts --------------------------------------------------------------------------------------

    @rule(
        units=UNITS,
        immediate=st.sampled_from([TimeInForce.FOK, TimeInForce.IOC]),
        bracket=st.booleans(),
        fill=st.sampled_from(list(PositionFill)),
    )
    def market(self, units: int, immediate: TimeInForce, bracket: bool, fill: PositionFill) -> None:
        side = 1 if units > 0 else -1
        self.room.send(
            OrderRequest(
                self.key(),
                "EUR_USD",
                D(units),
                time_in_force=immediate,
                stop_loss_price=self.price(-25 * side) if bracket else None,
                take_profit_price=self.price(25 * side) if bracket else None,
                position_fill=fill,
            )
        )

    @rule(units=UNITS, points=POINTS, kind=st.sampled_from(["LIMIT", "STOP", "MARKET_IF_TOUCHED"]))
    def resting(self, units: int, points: int, kind: str) -> None:
        self.room.send(
            OrderRequest(self.key(), "EUR_USD", D(units), OrderType(kind), TimeInForce.GTC, self.price(points))
        )

    @precondition(lambda self: self.working())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.room.run(self.room.desk.cancel(data.draw(st.sampled_from(self.working())), "test"))

    @precondition(lambda self: self.working())
    @rule(data=st.data(), units=UNITS, points=POINTS)
    def amend(self, data: st.DataObject, units: int, points: int) -> None:
        key = data.draw(st.sampled_from(self.working()))
        kind = self.room.desk.state.book.orders[key].order_type
        self.numbers += 1
        self.room.amend(
            key,
            OrderRequest(
                amended_order_id("r", self.numbers),
                "EUR_USD",
                D(units),
                kind if kind is not OrderType.MARKET else OrderType.LIMIT,
                TimeInForce.GTC,
                self.price(points),
            ),
        )

    @rule()
    def cancel_all(self) -> None:
        self.room.run(self.room.desk.cancel_all("test"))

    @rule(again=st.booleans())
    def flatten(self, again: bool) -> None:
        if not self.room.broker.away:
            for _ in range(1 + again):
                self.room.run(self.room.desk.flatten("flat", "test"))

    # -- the world ------------------------------------------------------------------------------------------------

    @rule(points=POINTS)
    def move(self, points: int) -> None:
        self.middle = 11_000 + points
        self.room.tick("EUR_USD", float(self.price(0)), float(self.price(1)))

    @rule(count=st.integers(1, 4), lost=st.integers(0, 2))
    def stream(self, count: int, lost: int) -> None:
        """The stream lags behind what replies and catch-ups have brought, repeats it, and leaves something out."""
        self.room.stream(count, lost)

    @rule(fault=st.sampled_from(Network.FAULTS))
    def break_next(self, fault: str) -> None:
        self.room.network.next.append(fault)

    @rule(away=st.booleans())
    def leave_or_return(self, away: bool) -> None:
        self.room.broker.away = away

    @rule()
    def ask(self) -> None:
        self.room.run(self.room.desk.resolve_uncertain())

    @rule()
    def die(self) -> None:
        """The end of the process: what is not in the journal is forgotten, the stream starts over."""
        self.room.restart()

    @rule(which=st.sampled_from(["submit", "cancel", "amend"]), units=UNITS)
    def die_before_sending(self, which: str, units: int) -> None:
        """The process ends between the durable record and the first byte."""
        desk, now = self.room.desk, self.room.clock.time_ns()
        standing = [o for o in desk.state.book.open() if o.working and o.entry]
        request = OrderRequest(self.key(), "EUR_USD", D(units), OrderType.LIMIT, TimeInForce.GTC, self.price(-90))
        if which == "submit":
            desk.commit(records.OrderSubmitted(request, now))
        elif standing and which == "cancel":
            desk.commit(records.CancelRequested(standing[0].key, now, "test"))
        elif standing:
            desk.commit(records.AmendRequested(standing[0].key, request, now))
        self.room.restart()

    # -- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def nothing_was_sent_twice(self) -> None:
        if not hasattr(self, "room"):
            return
        created = [key for kind, key in self.room.network.sent if kind in ("submit", "amend", "close")]
        assert len(created) == len(set(created))

    @invariant()
    def the_book_is_consistent(self) -> None:
        if not hasattr(self, "room"):
            return
        state = self.room.desk.state
        assert state.violations == []
        assert state.risk_state is RiskState.ACTIVE
        for key, order in state.book.orders.items():
            before = self.final.get(key)
            # Final is final, but for a conclusion of our own that the broker corrects.
            assert before is None or order.state is before or self.corrected(key)
            if order.state in FINAL and not order.never_sent and not order.assumed:
                self.final[key] = order.state
        entries = {o.instrument for o in state.book.orders.values() if o.entry and not o.state.terminal}
        assert state.book.in_flight() == entries
        assert [o.key for o in state.book.open()] == sorted(
            key for key, order in state.book.orders.items() if not order.state.terminal
        )

    def corrected(self, key: str) -> bool:
        return self.room.desk.state.book.orders[key].state not in FINAL

    @invariant()
    def the_journal_folds_to_the_same_state(self) -> None:
        if not hasattr(self, "room"):
            return
        live, folded = self.room.desk.state, self.room.folded()
        assert picture(folded) == picture(live)

    def teardown(self) -> None:
        if not hasattr(self, "room"):
            return
        room = self.room
        room.broker.away = False
        room.network.next.clear()
        room.run(room.desk.catch_up())
        room.run(room.desk.resolve_uncertain())
        state, exchange = room.desk.state, room.broker.exchange
        assert state.book.uncertain() == []
        # The broker's own books: working orders, units, money, and every fill where it belongs.
        theirs = {order.broker_order_id for order in room.run(room.broker.open_orders())}
        assert {order.broker_order_id for order in state.book.open()} == theirs
        positions = room.run(room.broker.positions())
        held = {name: state.positions.sides(name) for name in state.positions.held()}
        assert held == {name: (position.long_units, position.short_units) for name, position in positions.items()}
        assert state.balance == exchange.book.balance
        filled: dict[str, Decimal] = {}
        for event in room.run(room.broker.transactions_since(0)):
            if isinstance(event, OrderFilled):
                key = event.fill.broker_order_id
                filled[key] = filled.get(key, D(0)) + event.fill.units
        ours = {o.broker_order_id: o.filled_units for o in state.book.orders.values() if o.filled_units}
        assert ours == filled
        # One live order at most from one decision: an order and its replacement never both.
        live = {order.key for order in state.book.open()}
        assert all(not (order.replaces in live and key in live) for key, order in state.book.orders.items())
        for entry in read_entries(room.folder):
            record = records.decode(entry)
            assert records.encode(record) == entry.payload
            assert records.kind_of(record) == entry.kind
        room.close()
        self.folder.cleanup()


def picture(state: SessionState) -> object:
    """Everything that the next decision depends on."""
    return (
        {key: repr(order) for key, order in state.book.orders.items()},
        state.book.open() and [order.key for order in state.book.open()],
        state.positions.held(),
        {name: state.positions.average_price(name) for name in state.positions.held()},
        state.positions.realised,
        (state.balance, state.caught_up, state.newest_transaction, sorted(state.seen)),
        state.risk_state,
    )


TestSession = Session.TestCase
TestSession.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
