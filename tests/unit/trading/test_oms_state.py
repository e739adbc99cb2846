"""The fold of a session: what was seen, and how many orders went out."""

from decimal import Decimal

from core.domain import AccountChanged, AccountState, OrderRequest
from trading import records
from trading.state import SessionState

D = Decimal
MINUTE = 60_000_000_000


def opened() -> SessionState:
    state = SessionState()
    account = AccountState("USD", D(100), D(100), D(0), D(0), D(100), last_transaction_id=7, time_ns=0)
    state.apply(records.SessionOpened("s", "c", "t", "paper", "a", (), account, (), False, True))
    return state


def see(state: SessionState, number: int) -> None:
    state.apply(records.BrokerSaid(AccountChanged(number, 0, "TRANSFER_FUNDS", D(1)), "stream"))


def test_ids_without_a_gap_are_complete_and_those_after_one_are_remembered() -> None:
    state = opened()
    see(state, 8)
    assert (state.caught_up, state.seen) == (8, set())
    see(state, 11)
    see(state, 10)
    assert (state.caught_up, state.newest_transaction, state.seen) == (8, 11, {10, 11})
    assert [state.is_new(number) for number in (0, 8, 9, 10, 11, 12)] == [True, False, True, False, False, True]
    see(state, 9)
    assert (state.caught_up, state.seen) == (11, set())
    see(state, 20)
    state.apply(records.CaughtUp(15))
    assert (state.caught_up, state.newest_transaction, state.seen) == (15, 20, {20})
    state.apply(records.CaughtUp(19))
    assert (state.caught_up, state.seen) == (20, set())
    assert state.balance == 105


def test_the_order_rate_counts_orders_and_amendments_of_a_minute() -> None:
    state = opened()
    for number in range(3):
        state.apply(records.OrderSubmitted(OrderRequest(f"a{number}", "EUR_USD", D(1)), number * MINUTE // 2))
    assert state.orders_within_minute(MINUTE) == 2
    assert state.orders_within_minute(2 * MINUTE - 1) == 1
    assert state.orders_within_minute(3 * MINUTE) == 0
