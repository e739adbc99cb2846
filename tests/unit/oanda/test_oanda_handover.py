"""From a thread to the loop: everything, in order, and never more waiting than agreed."""

import asyncio
import threading

import pytest

from core.errors import UnavailableError
from trading.brokers.oanda import handover
from trading.brokers.oanda.handover import Handover


async def drain(stream: Handover[int]) -> list[int]:
    return [item async for item in stream]


async def test_batches_arrive_whole_and_in_order() -> None:
    stream: Handover[int] = Handover()

    def feed() -> None:
        for start in range(0, 10_000, 7):
            assert stream.put(range(start, min(start + 7, 10_000)))
        stream.end()

    thread = threading.Thread(target=feed)
    thread.start()
    assert await drain(stream) == list(range(10_000))
    thread.join()


async def test_a_slow_reader_holds_the_thread_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_HIGH_WATER", 100)
    stream: Handover[int] = Handover()
    put = 0

    def feed() -> None:
        nonlocal put
        for number in range(1_000):
            stream.put([number])
            put += 1
        stream.end()

    thread = threading.Thread(target=feed)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive() and put == 100
    assert await drain(stream) == list(range(1_000))
    thread.join()


async def test_end_lets_the_rest_be_read_then_raises() -> None:
    stream: Handover[int] = Handover()
    stream.put([1, 2])
    stream.end(UnavailableError("gone"))
    assert stream.put([3]) is False
    assert [await anext(stream), await anext(stream)] == [1, 2]
    for _ in range(2):
        with pytest.raises(UnavailableError, match="gone"):
            await anext(stream)


async def test_a_full_stream_does_not_starve_the_loop() -> None:
    stream: Handover[int] = Handover()
    stream.put(range(5_000))
    stream.end()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await drain(stream)
    task.cancel()
    assert turns >= 5_000 // 256


async def test_a_cancelled_read_loses_nothing() -> None:
    stream: Handover[int] = Handover()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.01)
    stream.put([1])
    assert await asyncio.wait_for(anext(stream), 1.0) == 1


async def test_end_wakes_a_blocked_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_HIGH_WATER", 1)
    stream: Handover[int] = Handover()
    stream.put([1])
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(stream.put([2])))
    thread.start()
    stream.end()
    thread.join(5)
    assert results == [False]
