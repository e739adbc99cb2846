"""Request limit, circuit and back-off against a clock of the test's own."""

import pytest

from core.errors import UnavailableError
from trading.brokers.oanda.pacing import CircuitBreaker, TokenBucket, backoff_seconds


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_no_second_holds_more_than_the_limit_allows() -> None:
    time = Time()
    bucket = TokenBucket(100.0, now=time.read, sleep=time.sleep)
    sent = []
    for _ in range(1_000):
        bucket.take()
        sent.append(time.now)
    busiest = max(sum(start <= moment < start + 1.0 for moment in sent) for start in sent)
    assert busiest <= 126
    assert 9.0 < sent[-1] - sent[0] < 10.0


def test_a_rested_bucket_lets_a_burst_through_at_once() -> None:
    time = Time()
    bucket = TokenBucket(100.0, now=time.read, sleep=time.sleep)
    for _ in range(25):
        bucket.take()
    assert time.now == 100.0
    bucket.take()
    assert time.now == pytest.approx(100.01)


def test_an_order_does_not_wait_behind_questions() -> None:
    time = Time()
    bucket = TokenBucket(100.0, now=time.read, sleep=time.sleep)
    for _ in range(25):
        bucket.take()
    bucket.take(urgent=True)
    assert time.now == 100.0


def test_orders_alone_are_limited_too() -> None:
    time = Time()
    bucket = TokenBucket(100.0, now=time.read, sleep=time.sleep)
    for _ in range(250):
        bucket.take(urgent=True)
    assert time.now >= 101.9


def test_circuit_opens_tries_once_and_closes() -> None:
    time = Time()
    breaker = CircuitBreaker(threshold=3, first_pause=1.0, longest_pause=4.0, now=time.read)
    for _ in range(3):
        breaker.check()
        breaker.failed()
    assert breaker.open
    with pytest.raises(UnavailableError, match="nothing is sent"):
        breaker.check()
    time.sleep(1.0)
    breaker.check()  # the one try
    with pytest.raises(UnavailableError):
        breaker.check()
    breaker.failed()
    time.sleep(1.5)
    with pytest.raises(UnavailableError):  # the pause has doubled
        breaker.check()
    time.sleep(0.5)
    breaker.check()
    breaker.succeeded()
    breaker.check()
    assert not breaker.open


def test_an_answer_in_between_keeps_the_circuit_closed() -> None:
    breaker = CircuitBreaker(threshold=2)
    for _ in range(10):
        breaker.failed()
        breaker.succeeded()
    breaker.check()


def test_backoff_doubles_up_to_its_bound() -> None:
    waits = [backoff_seconds(attempt) for attempt in range(100)]
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits == sorted(waits) and waits[-1] == 15.0
