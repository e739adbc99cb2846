"""Which occasions a fault strikes: once, so many times, or by chance that can be repeated."""

import pytest

from trading.practice.faults import Fault, FaultKind, Faults


def struck(faults: Faults, occasions: int) -> list[int]:
    return [number for number in range(occasions) if faults.for_request("POST", "/v3/accounts/x/orders") is not None]


def armed(*given: Fault) -> Faults:
    faults = Faults()
    for fault in given:
        faults.add(fault)
    return faults


def test_chance_repeats_with_its_seed_and_not_with_another() -> None:
    chance = Fault(kind=FaultKind.LOSE_REPLY, probability=0.1, seed=7)
    first = struck(armed(chance), 2000)
    assert first == struck(armed(chance), 2000)
    assert first != struck(armed(Fault(kind=FaultKind.LOSE_REPLY, probability=0.1, seed=8)), 2000)
    assert 150 < len(first) < 250


def test_one_fault_draws_alike_whatever_others_do() -> None:
    late = Fault(kind=FaultKind.DELAY_REPLY, probability=0.3, seed=3)
    alone = armed(late)
    both = armed(Fault(kind=FaultKind.ERROR, probability=0.5, seed=1), late)
    kinds = [both.for_request("GET", "/v3/x") for _ in range(500)]
    wanted = [alone.for_request("GET", "/v3/x") for _ in range(500)]
    for mixed, single in zip(kinds, wanted, strict=True):
        if mixed is None or mixed.kind is FaultKind.DELAY_REPLY:
            assert (mixed is None) == (single is None)
    assert both.shown()["struck"]["error"] == sum(1 for fault in kinds if fault and fault.kind is FaultKind.ERROR)


def test_counts_bound_and_matching_chooses() -> None:
    faults = armed(
        Fault(kind=FaultKind.ERROR, count=2, method="post", path="/orders"),
        Fault(kind=FaultKind.LOSE_REQUEST, probability=1.0, count=3),
    )
    assert faults.for_request("GET", "/v3/summary") is faults.armed[1].fault
    assert [faults.for_request("POST", "/v3/orders").kind for _ in range(2)] == [FaultKind.ERROR] * 2  # type: ignore[union-attr]
    assert struck(faults, 9) == [0, 1]  # the other one struck once so far: only the first that strikes counts
    assert faults.shown()["struck"] == {"error": 2, "lose_request": 3}


def test_streams_are_struck_where_they_are_meant() -> None:
    faults = armed(Fault(kind=FaultKind.DUPLICATE_EVENT), Fault(kind=FaultKind.GAP_STREAM, stream="pricing"))
    assert faults.for_request("POST", "/v3/orders") is None
    assert faults.for_line("pricing").kind is FaultKind.GAP_STREAM  # type: ignore[union-attr]
    assert faults.for_line("pricing") is None
    assert faults.for_line("transactions").kind is FaultKind.DUPLICATE_EVENT  # type: ignore[union-attr]
    assert faults.armed == [] and faults.for_line("transactions") is None


def test_one_fault_or_all_can_be_taken_back() -> None:
    faults = armed(Fault(kind=FaultKind.ERROR), Fault(kind=FaultKind.HALT, probability=0.5))
    numbers = [item["id"] for item in faults.shown()["faults"]]
    faults.clear(numbers[0])
    assert [item["kind"] for item in faults.shown()["faults"]] == ["halt"]
    faults.clear()
    assert faults.shown() == {"faults": [], "struck": {}}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"count": 0}, "count"),
        ({"probability": 0.0}, "probability"),
        ({"probability": 1.5}, "probability"),
        ({"seconds": -1.0}, "seconds"),
        ({"hold": 0}, "hold"),
        ({"status": 200}, "status"),
    ],
)
def test_a_fault_that_makes_no_sense_is_named(fields: dict[str, float], name: str) -> None:
    assert Fault(kind=FaultKind.ERROR, **fields).problem() == name  # type: ignore[arg-type]
