"""The serving drill: what happens to predictions while everything about the service changes or dies.

A real Ray Serve with two approved versions answers a steady load; meanwhile champions are swapped, traffic policies
change, a replica is killed and Ray ends and starts again. Afterwards every answer is judged.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import psutil

from core.embedded.guarded import GuardedProcess
from core.errors import UnavailableError
from core.settings import get_settings
from serving.client import ServeClient
from serving.environment import free_ports
from serving.local import LocalPredictor
from serving.release.approval import Approval
from serving.store import ModelStore
from serving.traffic.policy import Blend, Mode, Traffic
from tidegate.bench.serving_model import approved, write_tree_model
from tidegate.bench.serving_processes import inference_service
from tidegate.drill.serving_checker import Change, Checker
from tidegate.drill.serving_load import Asked, Load, Trader, Windows

STRATEGY = "tidegate-drill"
WINDOWS = 512
STEADY, SWAP, POLICY, REPLICA, RESTART, AFTER = "steady", "swap", "policy", "replica killed", "ray restarted", "after"
QUIET_PHASES = (STEADY, SWAP, POLICY, AFTER)  # in these no request may fail
GRACE_SECONDS = 3.0  # a policy answers 0.2 s after it was written; the rest is for a busy machine
_BACKLOG_SECONDS = 0.5  # of requests that may wait at the end of the steady phase
_PATIENCE_SECONDS = 5.0  # of the load's client: what is slower counts as failed
Say = Callable[[str], None]


class ServingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    per_second: float = 500.0
    seconds: float = 10.0  # of each phase
    swaps: int = 10
    replicas: int = 2
    rounds: int = 100  # of the models' trees: more make a slower model
    restart_ray: bool = True
    decision_seconds: float = 0.1  # between two decisions of the trader's client


class ServingResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was asked, what was written, and what is wrong with the answers."""

    order: ServingOrder
    asked: list[Asked]
    decided: list[Asked]
    wrong: list[str]
    stale_seconds: list[float]  # of each policy change but the last: when its predecessor answered last
    changes: int
    restart_seconds: float | None
    replica_seconds: float | None
    seconds: float


class ServingDrill:
    """One run in a folder of its own."""

    def __init__(self, order: ServingOrder, folder: Path, say: Say) -> None:
        self._order = order
        self._say = say
        self._folder = folder
        self._state = folder / "state"
        self._store = ModelStore(self._state / "serving")
        self._changes: list[Change] = []
        self._approvals: list[Approval] = []
        (port,) = free_ports(1)
        self._variables = {
            "TIDEGATE_SERVING__PORT": str(port),
            "TIDEGATE_SERVING__REPLICAS": str(order.replicas),
            "TIDEGATE_SERVING__MAXIMUM_REPLICAS": str(order.replicas),
            "TIDEGATE_LOGGING__LEVEL": "warning",
            # What a replica needs is on its own disk: neither of these is ever reached.
            "TIDEGATE_MLFLOW__TRACKING_URI": "http://127.0.0.1:1",
            "TIDEGATE_DATABASE__URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
        }
        self.restart_seconds: float | None = None
        self.replica_seconds: float | None = None

    async def run(self) -> ServingResult:
        """Do everything and judge it.

        Raises:
            UnavailableError: the service does not start, or does not come back.
        """
        began = time.monotonic()
        windows = await asyncio.to_thread(self._prepare)
        with ExitStack() as stack:
            stack.callback(lambda: self._service.close())
            self._service = ExitStack()
            url = await asyncio.to_thread(self._start)
            local = stack.enter_context(LocalPredictor(self._store.root))
            settings = get_settings().serving
            async with (
                ServeClient(url, _PATIENCE_SECONDS, settings.token) as busy,
                ServeClient(url, settings.timeout_seconds, settings.token) as own,
            ):
                load = Load(busy, windows, self._order.per_second)
                trader = Trader(own, local, windows, load, self._order.decision_seconds)
                stop = asyncio.Event()
                tasks = [asyncio.create_task(load.run(stop)), asyncio.create_task(trader.run(stop))]
                try:
                    await self._disturb(load)
                finally:
                    stop.set()
                    await asyncio.gather(*tasks)
        checker = Checker(self._changes, windows.expected, GRACE_SECONDS)
        everything = [*load.asked, *trader.decided]
        return ServingResult(
            order=self._order,
            asked=load.asked,
            decided=trader.decided,
            wrong=[words for words in (checker.problem(asked) for asked in everything) if words],
            stale_seconds=[late for late in (checker.stale_seconds(asked) for asked in everything) if late is not None],
            changes=len(self._changes) - 1,
            restart_seconds=self.restart_seconds,
            replica_seconds=self.replica_seconds,
            seconds=time.monotonic() - began,
        )

    def _prepare(self) -> Windows:
        """Make, approve and store two versions; the first is the champion."""
        self._say("two models are fitted and approved")
        packages = [
            write_tree_model(self._folder / f"model-{seed}", strategy=STRATEGY, seed=seed, rounds=self._order.rounds)
            for seed in (1, 2)
        ]
        self._approvals = approved(packages, self._folder)
        for package in packages:
            self._store.add(package)
        self._write(0)
        first = packages[0]
        shape = (WINDOWS, first.session.lookback, first.session.feature_count)
        features = np.random.default_rng(3).normal(size=shape).astype(np.float32)
        expected = {str(number): package.session.run(features) for number, package in enumerate(packages, start=1)}
        return Windows(STRATEGY, first.manifest.feature_digest, features, expected)

    def _start(self) -> str:
        self._say(f"the inference service starts with {self._order.replicas} replicas")
        url, self._process = self._service.enter_context(inference_service(self._state, self._folder, self._variables))
        return url

    def _write(self, champion: int, traffic: Traffic | None = None) -> None:
        """Write a policy; with ``traffic`` the other version is the challenger."""
        begun = time.monotonic()
        if traffic is None:
            policy = self._store.set_policy(STRATEGY, champion=self._approvals[champion])
        else:
            policy = self._store.set_policy(
                STRATEGY,
                champion=self._approvals[champion],
                challenger=self._approvals[1 - champion],
                traffic=traffic,
            )
        self._changes.append(Change(policy, begun, time.monotonic()))

    async def _disturb(self, load: Load) -> None:
        order = self._order
        await self._phase(load, STEADY, lambda: asyncio.sleep(order.seconds))
        self._require_carried(load)
        await self._phase(load, SWAP, self._swap)
        await self._phase(load, POLICY, self._policies)
        await self._phase(load, REPLICA, lambda: self._kill_replica(load))
        if order.restart_ray:
            await self._phase(load, RESTART, lambda: self._restart(load))
        await self._phase(load, AFTER, lambda: asyncio.sleep(order.seconds))

    def _require_carried(self, load: Load) -> None:
        """Refuse to go on where nothing was done yet and requests pile up: it would prove nothing about changes.

        Raises:
            UnavailableError: the machine does not carry the load.
        """
        if load.waiting > _BACKLOG_SECONDS * load.per_second:
            raise UnavailableError(
                f"{load.waiting} predictions wait after {self._order.seconds:g} s in which nothing was disturbed: this "
                f"machine does not carry {load.per_second:g} a second now; give a smaller --rate, or try it when it is "
                "idle"
            )

    async def _phase(self, load: Load, name: str, action: Callable[[], Awaitable[None]]) -> None:
        self._say(name)
        load.phase = name
        await action()

    async def _swap(self) -> None:
        for number in range(1, self._order.swaps + 1):
            await asyncio.to_thread(self._write, number % 2)
            await asyncio.sleep(self._order.seconds / self._order.swaps)

    async def _policies(self) -> None:
        champion = self._order.swaps % 2
        canaries = [Traffic(mode=Mode.CANARY, share=share, salt="drill") for share in (0.05, 0.25, 0.5)]
        policies = [
            Traffic(mode=Mode.SHADOW),
            *canaries,
            Traffic(mode=Mode.AB, share=0.5, salt="experiment"),
            Traffic(mode=Mode.BLEND, blend=Blend(first=0.0, weight=0.4)),
            None,  # back to the champion alone: what a rollback writes
            *canaries,
        ]
        for traffic in policies:
            await asyncio.to_thread(self._write, champion, traffic)
            await asyncio.sleep(self._order.seconds / len(policies))

    def _replicas(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::ServeReplica"):
                    found.append(process)
            except psutil.Error:
                continue  # it ended while we looked
        return found

    async def _kill_replica(self, load: Load) -> None:
        """SIGKILL one replica and wait until there are as many as before."""
        victim = (await asyncio.to_thread(self._replicas))[0]
        killed = time.monotonic()
        victim.kill()
        while True:
            living = [process for process in await asyncio.to_thread(self._replicas) if process.pid != victim.pid]
            if len(living) >= self._order.replicas:
                break
            if time.monotonic() - killed > 120.0:
                raise UnavailableError("the killed replica did not come back in two minutes")
            await asyncio.sleep(0.1)
        self.replica_seconds = time.monotonic() - killed
        await asyncio.sleep(self._order.seconds)
        await self._settle(load)

    async def _restart(self, load: Load) -> None:
        """End the service with everything it started, and start it again on the same port.

        It is over when those that waited meanwhile were answered or have given up.
        """
        ended = time.monotonic()
        await asyncio.to_thread(self._service.close)
        await asyncio.to_thread(self._start)
        self.restart_seconds = time.monotonic() - ended
        await self._settle(load)

    async def _settle(self, load: Load) -> None:
        """Wait for those that waited while processes died, at most two minutes: their lateness is this phase's."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            if load.waiting <= _BACKLOG_SECONDS * load.per_second or time.monotonic() - began > 120.0:
                break

    _process: GuardedProcess
    _service: ExitStack


def run_serving_drill(order: ServingOrder, say: Say) -> ServingResult:
    """Run the drill and return what came of it.

    Raises:
        UnavailableError: the service does not start, or does not come back.
        BadInputError: a library is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-drill-") as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        return asyncio.run(ServingDrill(order, Path(folder), say).run())
