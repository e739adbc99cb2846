"""The state machine under random events: terminal states are final, and only the table's transitions happen."""

from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import OrderState
from core.errors import IntegrityError
from trading.oms.states import TRANSITIONS, transition

# Written down independently of the table: what each state can never become.
NEVER_BACK = {OrderState.PENDING_NEW}
FINAL = {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(list(OrderState)), max_size=12))
def test_random_walks(wanted: list[OrderState]) -> None:
    state = OrderState.PENDING_NEW
    reached = [state]
    for after in wanted:
        try:
            state = transition("order", state, after)
        except IntegrityError:
            assert after in NEVER_BACK or reached[-1] in FINAL or after not in TRANSITIONS[reached[-1]]
            continue
        assert reached[-1] not in FINAL
        assert after not in NEVER_BACK
        reached.append(state)
    # An order that was partly executed is never rejected, and one that the broker holds never unknown again.
    if OrderState.PARTIALLY_FILLED in reached:
        assert OrderState.REJECTED not in reached[reached.index(OrderState.PARTIALLY_FILLED) :]
    if OrderState.ACCEPTED in reached:
        assert OrderState.UNKNOWN not in reached[reached.index(OrderState.ACCEPTED) :]


def test_every_state_is_in_the_table_and_only_final_ones_are_dead_ends() -> None:
    assert set(TRANSITIONS) == set(OrderState)
    assert {state for state, after in TRANSITIONS.items() if not after} == FINAL
    assert all(state.terminal == (state in FINAL) for state in OrderState)
