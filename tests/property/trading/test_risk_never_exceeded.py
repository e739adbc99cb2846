"""No sequence of accepted orders, fills, cancels and stops exceeds a limit; exits are always possible."""

from collections.abc import Callable
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.domain import (
    AccountState,
    BrokerEvent,
    Fill,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRequest,
    OrderType,
    Quote,
    RejectReason,
    TimeInForce,
    default_instrument,
)
from trading import records
from trading.risk.parameters import RiskParameters, RiskState
from trading.risk.pre_trade import PreTrade
from trading.state import SessionState

NOW = 1_700_000_000_000_000_000
PAIRS = ("EUR_GBP", "EUR_USD", "GBP_USD")
INSTRUMENTS = {name: default_instrument(name) for name in PAIRS}
RATES = {"USD": 1.0, "EUR": 1.1, "GBP": 1.3}
EQUITY = 100_000.0
QUOTES = {name: Quote(name, NOW, NOW, 1.1, 1.1001) for name in PAIRS}
LIMITS = RiskParameters(
    maximum_order_units=150_000,
    maximum_gross_leverage=4.0,
    maximum_currency_leverage=3.0,
    maximum_instrument_leverage=2.0,
    maximum_margin_use=0.1,
    maximum_orders_per_minute=1000,
)


class Account:
    """A session's state moved by records, as the desk moves it; prices stand still, so equity does."""

    def __init__(self) -> None:
        self.state = SessionState()
        account = AccountState(
            "USD", Decimal(100_000), Decimal(100_000), Decimal(0), Decimal(0), Decimal(100_000), 1, NOW
        )
        self.state.apply(
            records.SessionOpened(
                "s", "d", "s", "paper", "k", PAIRS, account, positions=(), resumed=False, simulated=True
            )
        )
        self.risk = PreTrade(LIMITS, INSTRUMENTS)
        self.transaction = 1
        self.count = 0
        self.exited = False

    def asked(self, order: OrderRequest, replaces: str = "") -> RejectReason | None:
        refused = self.risk.check(order, self.state, QUOTES, RATES, EQUITY, NOW, replaces)
        return refused[0] if refused else None

    def order(self, name: str, units: int, rests: bool) -> OrderRequest:
        self.count += 1
        kind, life = (OrderType.LIMIT, TimeInForce.GTC) if rests else (OrderType.MARKET, TimeInForce.FOK)
        price = Decimal("1.2") if rests else None
        return OrderRequest(f"o{self.count}", name, Decimal(units), kind, life, price)

    def said(self, make: Callable[[int], BrokerEvent]) -> None:
        self.transaction += 1
        self.state.apply(records.BrokerSaid(make(self.transaction), "reply"))

    def take(self, order: OrderRequest) -> None:
        self.state.apply(records.OrderSubmitted(order, NOW))
        self.accept(order)
        if order.order_type is OrderType.MARKET:
            self.fill(order.client_order_id, order.instrument, order.units)

    def accept(self, order: OrderRequest) -> None:
        key, name = order.client_order_id, order.instrument
        self.said(lambda number: OrderAccepted(number, key, f"b{key}", name, order.units, order.order_type, NOW))

    def fill(self, key: str, name: str, units: Decimal) -> None:
        self.said(
            lambda number: OrderFilled(number, Fill(number, key, f"b{key}", name, units, Decimal("1.1"), NOW), NOW)
        )

    def cancel(self, key: str) -> None:
        self.said(lambda number: OrderCancelled(number, key, f"b{key}", NOW))

    def check(self) -> None:
        held = {name: float(units) for name, units in self.state.positions.held().items()}
        notional = {name: abs(units) * RATES[name[:3]] for name, units in held.items()}
        slack = 1 + 1e-9
        assert sum(notional.values()) <= LIMITS.maximum_gross_leverage * EQUITY * slack
        assert max(notional.values(), default=0.0) <= LIMITS.maximum_instrument_leverage * EQUITY * slack
        rates = {name: float(INSTRUMENTS[name].margin_rate) for name in PAIRS}
        margin = sum(amount * rates[name] for name, amount in notional.items())
        assert margin <= LIMITS.maximum_margin_use * EQUITY * slack
        if not self.exited:  # closing one leg of a hedge leaves the other: an exit may raise a currency's exposure
            for currency in RATES:
                net = sum(units * RATES[name[:3]] * _side(name, currency) for name, units in held.items())
                assert abs(net) <= LIMITS.maximum_currency_leverage * EQUITY * slack


def _side(name: str, currency: str) -> int:
    return (name[:3] == currency) - (name[4:] == currency)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["market", "rest", "rest", "fill", "fill", "part", "cancel", "exit", "amend"]),
        st.sampled_from(PAIRS),
        # Near the limits, so that two or three orders reach one.
        st.sampled_from([-160_000, -140_000, -90_000, -50_000, -1, 1, 50_000, 90_000, 140_000, 160_000]),
    ),
    min_size=10,
    max_size=50,
)


def plot(*words: str) -> list[tuple[str, str, int]]:
    """Actions in EUR_USD, such as ``rest-140`` (thousands)."""
    return [
        (word.rstrip("+-0123456789"), "EUR_USD", 1000 * int(word.lstrip("abcdefghijklmnopqrstuvwxyz") or 1))
        for word in words
    ]


@settings(max_examples=60)
@given(ACTIONS)
# Sells that would only close the position, which is gone when they fill.
@example(plot("market+140", "rest-140", "rest-90", "exit", "fill", "fill"))
@example(plot("market+140", "rest-140", "rest-140", "rest-140", "fill", "fill", "fill"))
@example(plot("rest+90", "rest+90", "rest+90", "fill", "fill", "fill"))
@example(plot("market+140", "rest+40", "amend+140", "fill", "market+50"))
def test_no_sequence_exceeds_a_limit_and_exits_stay_possible(actions: list[tuple[str, str, int]]) -> None:
    account = Account()
    for action, name, units in actions:
        resting = [order for order in account.state.book.open() if order.instrument == name]
        held = account.state.positions.units(name)
        if action in ("market", "rest"):
            order = account.order(name, units, action == "rest")
            if account.asked(order) is None:
                account.exited |= held * units < 0
                account.take(order)
        elif action in ("fill", "part") and resting:
            left = resting[0].units - resting[0].filled_units
            part = left if action == "fill" or abs(left) < 2 else Decimal(int(left / 2))
            account.exited |= held * part < 0
            account.fill(resting[0].key, name, part)
        elif action == "cancel" and resting:
            account.cancel(resting[0].key)
        elif action == "amend" and resting and resting[0].request is not None:
            replacement = account.order(name, units, rests=True)
            if account.asked(replacement, resting[0].key) is None:
                account.cancel(resting[0].key)
                account.take(replacement)
        elif action == "exit" and held:
            exit_order = account.order(name, -int(held), rests=False)
            account.state.risk_state = RiskState.REDUCING
            assert account.asked(exit_order) is None
            grown = account.order(name, -int(held) - (1 if held > 0 else -1), rests=False)
            assert account.asked(grown) is RejectReason.STATE_REDUCING or abs(grown.units) > 150_000
            account.state.risk_state = RiskState.ACTIVE
            account.exited = True
            account.take(exit_order)
        account.check()
    assert not account.state.violations


@given(st.sampled_from(PAIRS), st.integers(1, 150_000), st.integers(1, 150_000), st.booleans())
def test_an_amendment_counts_as_the_difference(name: str, first: int, second: int, short: bool) -> None:
    side = -1 if short else 1
    account = Account()
    account.take(account.order(name, side * 120_000, rests=False))
    old = account.order(name, side * first, rests=True)
    if account.asked(old) is not None:
        return
    account.take(old)
    replacement = account.order(name, side * second, rests=True)
    fresh = Account()
    fresh.take(fresh.order(name, side * 120_000, rests=False))
    alone = fresh.asked(fresh.order(name, side * second, rests=True))
    assert account.asked(replacement, old.client_order_id) == alone
    if second <= first:
        assert alone is None
