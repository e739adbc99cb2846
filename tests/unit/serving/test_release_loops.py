"""A loop goes on after whatever its work raises, more slowly, and says what is wrong."""

import threading
import time

from core.errors import UnavailableError
from tidegate.release_loops import Loop


def test_a_loop_survives_its_work_and_tells() -> None:
    outcomes: list[Exception | None] = [UnavailableError("away"), ValueError("odd\nvalue"), None]
    done = threading.Event()

    def work() -> None:
        if not outcomes:
            done.set()
            return
        error = outcomes.pop(0)
        if error is not None:
            told.append(error)
            raise error

    told: list[Exception] = []
    loop = Loop("test", 0.01, work, longest_pause_seconds=0.02)
    loop.start()
    assert done.wait(20)
    loop.end()
    loop.join(time.monotonic() + 5)
    state = loop.state()
    assert (state.failures, state.trouble, len(told)) == (2, "", 2)
    assert state.turns >= 4
    assert state.age_seconds is not None


def test_wake_takes_the_next_turn_now_and_a_failure_stays_visible() -> None:
    turns = threading.Semaphore(0)

    def work() -> None:
        turns.release()
        raise ValueError("odd\nvalue")

    loop = Loop("test", 3600.0, work)
    loop.start()
    assert turns.acquire(timeout=10)
    loop.wake()
    assert turns.acquire(timeout=10)
    loop.end()
    loop.join(time.monotonic() + 5)
    assert loop.state().trouble == "ValueError: odd value"
    assert loop.state().age_seconds is None
