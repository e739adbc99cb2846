"""The state machine: its table is complete, terminal states are final, and random walks keep what must always hold."""

from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import OrderState
from core.errors import IntegrityError
from trading.oms.states import TABLE, OrderEvent, follow

# Written down independently of the table.
FINAL = {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED}
EXECUTED = {OrderEvent.PARTLY_FILLED, OrderEvent.FILLED}
OF_THE_BROKER = {
    OrderEvent.ACCEPTED,
    OrderEvent.PARTLY_FILLED,
    OrderEvent.FILLED,
    OrderEvent.CANCELLED,
    OrderEvent.REJECTED,
}


def test_every_pair_of_state_and_event_is_in_the_table() -> None:
    assert set(TABLE) == set(OrderState)
    assert all(set(row) == set(OrderEvent) for row in TABLE.values())
    assert all(state.terminal == (state in FINAL) for state in OrderState)


def test_final_states_stay_and_nothing_goes_back_to_the_beginning() -> None:
    for state, row in TABLE.items():
        after = {target for target in row.values() if target is not None}
        assert OrderState.PENDING_NEW not in after
        assert after <= {state} if state in FINAL else after
        # No execution is ever taken by an order that has ended.
        assert state not in FINAL or all(row[event] is None for event in EXECUTED)
        # Not to know an order leads back from nowhere but from where it was not known either.
        if OrderState.UNKNOWN in after:
            assert state in (OrderState.PENDING_NEW, OrderState.UNKNOWN)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(list(OrderEvent)), max_size=12))
def test_random_walks(events: list[OrderEvent]) -> None:
    state = OrderState.PENDING_NEW
    held = executed = False
    for event in events:
        try:
            after = follow("order", state, event)
        except IntegrityError as error:
            assert "order" in error.message and state.value in error.message
            continue
        assert state not in FINAL or after is state
        held = held or event in (OrderEvent.ACCEPTED, OrderEvent.PARTLY_FILLED, OrderEvent.SETTLED_OPEN)
        executed = executed or event in EXECUTED
        if held:  # what the broker holds is never unknown again, nor rejected as if it had never been
            assert after not in (OrderState.UNKNOWN, OrderState.PENDING_NEW, OrderState.REJECTED)
        if executed:
            assert after is not OrderState.ACCEPTED or event in (OrderEvent.STANDS, OrderEvent.SETTLED_OPEN)
        state = after


def test_the_broker_may_say_everything_of_an_order_that_is_at_large() -> None:
    for state in (OrderState.PENDING_NEW, OrderState.UNKNOWN):
        assert all(TABLE[state][event] is not None for event in OF_THE_BROKER)
