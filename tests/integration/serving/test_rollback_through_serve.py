"""The guard takes a version back through the real Ray Serve application: how long until the model before it answers.

Nothing here asserts a time. The figures are printed (`pytest -s`): from the trigger to the first answer of the old
model, and from the command to the first refusal where nobody is left to answer.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from serving_packages import approval_of, put_in_store, request_for, verified

from core.clock import LiveClock
from core.domain import Prediction
from core.errors import RefusedError, UnavailableError
from core.settings import Settings
from serving.client import ServeClient
from serving.release.arm_figures import arm_measures, plain
from serving.release.bars import read_bars
from serving.release.findings import TriggerKind
from serving.release.guard import Guard
from serving.release.notifications import Notification
from serving.release.rollback import FLAT, strategy_folder
from serving.release.rollback_steps import check_action
from serving.release.triggers import RollbackParameters
from serving.store import ModelStore, Pointer
from serving.traffic.statistics import read_statistics
from tidegate.rollback import answering, by_hand

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]
STRATEGY = "tidegate-test"
# A busy test machine is slow: latency is not what this test is about.
PARAMETERS = RollbackParameters.read({"rollback": {"latency_seconds": {}, "minimum_rows": 50}})


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 answers; version 2 is so sure of itself that it gives one answer whatever it is asked."""
    folder = tmp_path_factory.mktemp("rollback")
    store = ModelStore(folder / "serving")
    put_in_store(store, verified(folder / "1", bias=0.5, strategy=STRATEGY), "1")
    store.add(verified(folder / "2", bias=60.0, strategy=STRATEGY))
    return folder


@pytest.fixture(scope="module")
def url(state: Path) -> Iterator[str]:
    ready = state / "ready.json"
    environment = os.environ | {
        "TIDEGATE_STATE_DIRECTORY": str(state),
        "TIDEGATE_SERVING__PORT": "0",
        "TIDEGATE_MLFLOW__TRACKING_URI": "http://127.0.0.1:1",
        "TIDEGATE_DATABASE__URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
    }
    with (state / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "serving.server", "--ready-file", str(ready)]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < deadline, (state / "server.log").read_text()
            time.sleep(0.05)
        yield json.loads(ready.read_text())["url"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


class Asker:
    """Asks without a pause, each time with other features, and keeps when which version answered."""

    def __init__(self, url: str, state: Path) -> None:
        self.seen: list[tuple[int, str, int]] = []  # UTC nanoseconds, version, policy revision
        self.refused: list[tuple[int, str]] = []
        self._url = url
        self._package = ModelStore(state / "serving").load(self._pointer(state))
        self._random = np.random.default_rng(17)

    @staticmethod
    def _pointer(state: Path) -> Pointer:
        pointer = ModelStore(state / "serving").pointer(STRATEGY)
        assert pointer is not None
        return pointer

    async def run(self, stop: asyncio.Event) -> None:
        shape = (3, self._package.session.lookback, self._package.session.feature_count)
        async with ServeClient(self._url, 10.0) as client:
            while not stop.is_set():
                request = request_for(self._package, values=self._random.normal(size=shape).astype(np.float32))
                try:
                    answer: list[Prediction] = await client.predict(request)
                except (UnavailableError, RefusedError) as error:
                    self.refused.append((time.time_ns(), error.message))
                else:
                    assert len({(p.model_version, p.policy_revision) for p in answer}) == 1
                    self.seen.append((time.time_ns(), answer[0].model_version, answer[0].policy_revision))
                await asyncio.sleep(0.003)


@pytest.fixture
async def asker(url: str, state: Path) -> AsyncIterator[Asker]:
    stop, asker = asyncio.Event(), Asker(url, state)
    task = asyncio.create_task(asker.run(stop))
    yield asker
    stop.set()
    await task


async def until(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the guard is asked, it tells nobody
            await asyncio.sleep(0.005)


async def test_taken_back_by_itself_then_to_nobody_by_hand(asker: Asker, state: Path) -> None:
    store, clock, told = ModelStore(state / "serving"), LiveClock(), list[Notification]()
    guard = Guard(
        store,
        PARAMETERS,
        [lambda policy: arm_measures(read_statistics(state), policy, PARAMETERS, clock.time_ns())],
        told.append,
        clock,
        lambda strategy: plain(read_statistics(state), strategy),
    )
    await until(lambda: len(asker.seen) >= 20)
    assert guard.tick(clock.time_ns()) == []
    bad = store.move(approval_of(verified(state / "2", bias=60.0, strategy=STRATEGY), "2", 2))
    async with asyncio.timeout(60):
        while not guard.tick(clock.time_ns()):  # noqa: ASYNC110 - the guard is asked, it tells nobody
            await asyncio.sleep(PARAMETERS.tick_seconds)
    (record,) = guard.rollbacks
    assert (record.trigger.kind, record.taken_back) == (TriggerKind.CONSTANT, ("2",))
    assert record.target is not None and record.target.version == "1"
    await until(lambda: asker.seen[-1][2] == record.revision)
    back = next(time_ns for time_ns, version, revision in asker.seen if (version, revision) == ("1", bad.revision + 1))
    # Nobody's request failed, and each version answered in one piece: 1, then 2, then 1 again.
    assert asker.refused == []
    order = [asker.seen[0][1:], *(b[1:] for a, b in zip(asker.seen, asker.seen[1:], strict=False) if a[1:] != b[1:])]
    assert order == [("1", 1), ("2", 2), ("1", 3)]
    assert [bar.version for bar in read_bars(strategy_folder(store, STRATEGY))] == ["2"]
    with pytest.raises(RefusedError, match="stays barred"):
        store.move(bad.approval)  # type: ignore[arg-type]
    confirmed = check_action(lambda strategy: answering(state, strategy), 10.0, clock.time_ns)
    await until(lambda: min(answering(state, STRATEGY).values()) == record.revision)
    assert "replica(s) answer with revision 3" in confirmed(record)

    settings = Settings(state_directory=state)
    with pytest.raises(RefusedError, match="say where to"):  # the second press of the button
        by_hand(settings, STRATEGY, reason="again", parameters=PARAMETERS)
    flat = by_hand(settings, STRATEGY, reason="stop everything", parameters=PARAMETERS, to=FLAT)
    await until(lambda: bool(asker.refused))
    assert "stop everything" in asker.refused[0][1]
    assert flat.target is None
    pointer = store.pointer(STRATEGY)
    assert pointer is not None and "stop everything" in pointer.flat
    await asyncio.sleep(0.1)
    assert asker.seen[-1][0] < asker.refused[0][0]  # nobody answered after it
    sys.stdout.write(
        f"\ntrigger to the first answer of the champion before: {(back - record.trigger.time_ns) / 1e6:.0f} ms"
        f"\ncommand to the first refusal: {(asker.refused[0][0] - flat.trigger.time_ns) / 1e6:.0f} ms\n"
    )
