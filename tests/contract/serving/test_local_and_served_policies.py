"""One contract for all who carry out a policy: the same request and policy give the same answer, bit for bit.

The service is asked over real HTTP in both body forms; the trader's own predictor is asked in this process.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from serving_packages import approval_of, request_for, verified

from core.domain import AnsweredBy, Prediction, PredictionRequest
from core.errors import RefusedError
from core.settings import ServingSettings
from serving import codec
from serving.application import build_asgi
from serving.client import ServeClient
from serving.fallback import BreakerState, FallbackPredictor
from serving.limits import Limits
from serving.local import LocalPredictor
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Blend, Mode, Traffic, Weighting
from serving.traffic.statistics import read_replicas

NAME = "tidegate-test"
POLL_SECONDS = 0.02


@contextlib.asynccontextmanager
async def service(root: Path) -> AsyncIterator[str]:
    application = build_asgi(root, POLL_SECONDS, Limits.of(ServingSettings()), None)
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="error", lifespan="on"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


class Market:
    """A store with a champion, a challenger that is sound and one that fails on the first row of ``request``."""

    def __init__(self, folder: Path) -> None:
        self.store = ModelStore(folder / "serving")
        champion = verified(folder / "champion")
        sound = verified(folder / "sound", bias=1.0, sizing={"kelly_fraction": 0.1})
        failing = verified(folder / "failing", bias=0.5, fails="nan")
        for package in (champion, sound, failing):
            self.store.add(package)
        self.champion = approval_of(champion, "1")
        self.sound, self.failing = approval_of(sound, "2", 2), approval_of(failing, "3", 3)
        request = request_for(champion, 48)
        features = request.features.copy()
        features[0, 0, 0], features[1, 1, 1] = 11.0, np.nan
        self.request = msgspec.structs.replace(request, features=features)

    def set(self, traffic: Traffic, failing: bool = False) -> Pointer:
        challenger = None if traffic.mode is Mode.CHAMPION else self.failing if failing else self.sound
        return self.store.set_policy(NAME, champion=self.champion, challenger=challenger, traffic=traffic)


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path)


def policies(time_ns: int) -> list[Traffic]:
    ramp = Blend(first=0.1, weight=0.9, start_ns=time_ns - 300, end_ns=time_ns + 700)
    sure = Blend(weighting=Weighting.CONFIDENCE, weight=0.3)
    return [
        Traffic(),
        Traffic(mode=Mode.SHADOW),
        Traffic(mode=Mode.CANARY, share=0.25, salt="release 1"),
        Traffic(mode=Mode.AB, share=0.5, salt="experiment", block_seconds=60),
        Traffic(mode=Mode.BLEND, blend=ramp),
        Traffic(mode=Mode.BLEND, blend=sure),
    ]


async def reached(local: LocalPredictor, store: ModelStore, revision: int) -> None:
    """Wait until both the local predictor and the service carry out a revision."""
    async with asyncio.timeout(20):
        while True:
            installed = local.pointer(NAME)
            replicas = read_replicas(store.root.parent)
            if installed and installed.revision == revision and [r.revisions[NAME] for r in replicas] == [revision]:
                return
            await asyncio.sleep(0.01)


def same(predictions: list[Prediction]) -> list[Prediction]:
    return [msgspec.structs.replace(one, answered_by=AnsweredBy.SERVE) for one in predictions]


async def test_the_service_and_the_trader_say_the_same_under_every_policy(market: Market) -> None:
    request = market.request
    market.set(Traffic())
    seen: set[str] = set()
    async with service(market.store.root) as url, ServeClient(url, 10.0) as client:
        async with aiohttp.ClientSession(url) as http:
            with LocalPredictor(market.store.root, POLL_SECONDS) as local:
                for traffic in policies(request.time_ns):
                    for failing in (False, True):
                        policy = market.set(traffic, failing)
                        await reached(local, market.store, policy.revision)
                        served, here = await client.predict(request), await local.predict(request)
                        assert {one.answered_by for one in here} == {AnsweredBy.LOCAL}
                        assert same(here) == served
                        assert {one.policy_revision for one in served} == {policy.revision}
                        assert not failing or served[0].arm == "champion"
                        await check_json(http, request, served)
                        seen |= {one.arm for one in served}
                        for one in served:
                            brought = not failing and one.arm != "champion"
                            assert brought == any(share.values for share in one.strategy)
    assert seen == {"champion", "challenger", "blend"}


async def check_json(http: aiohttp.ClientSession, request: PredictionRequest, served: list[Prediction]) -> None:
    body = {
        "strategy": request.strategy,
        "time_ns": request.time_ns,
        "instruments": list(request.instruments),
        "decision_ids": list(request.decision_ids),
        "feature_digest": request.feature_digest,
        "features": [
            [[None if np.isnan(value) else float(value) for value in row] for row in window]
            for window in request.features
        ],
    }
    async with http.post("/v1/predict", json=body) as response:
        document = msgspec.json.decode(await response.read(), type=codec.JsonAnswer)
    for one, other in zip(document.predictions, served, strict=True):
        assert (one.decision_id, one.arm, one.probability_long) == (
            other.decision_id,
            other.arm,
            other.probability_long,
        )
        assert [(a.arm, a.probability_long) for a in one.alternatives] == [
            (a.arm, a.probability_long) for a in other.alternatives
        ]
    versions = {version.arm: version.model_digest for version in document.versions}
    for one in served:
        assert one.arm == "blend" or versions.get(one.arm, document.model_digest) == one.model_digest  # type: ignore[call-overload]


async def test_policies_change_under_load_without_a_failed_or_mixed_answer(market: Market) -> None:
    request, stop = market.request, asyncio.Event()
    market.set(Traffic())
    seen: dict[int, list[Prediction]] = {}

    async def load(client: ServeClient) -> None:
        while not stop.is_set():
            answers = await client.predict(request)
            (revision,) = {answer.policy_revision for answer in answers}
            assert seen.setdefault(revision, answers) == answers  # one revision, one answer

    async with service(market.store.root) as url, ServeClient(url, 10.0) as client:
        tasks = [asyncio.create_task(load(client)) for _ in range(3)]
        with LocalPredictor(market.store.root, POLL_SECONDS) as local:
            for traffic in policies(request.time_ns):
                policy = market.set(traffic)
                async with asyncio.timeout(20):
                    while policy.revision not in seen:
                        await asyncio.sleep(0.005)
                        for task in tasks:
                            assert not task.done() or task.exception() is None
                await reached(local, market.store, policy.revision)
                assert same(await local.predict(request)) == seen[policy.revision]
        stop.set()
        await asyncio.gather(*tasks)


async def test_a_flat_policy_is_refused_at_once_and_not_asked_elsewhere(market: Market) -> None:
    policy = market.set(Traffic())
    async with service(market.store.root) as url, ServeClient(url, 10.0) as client:
        with LocalPredictor(market.store.root, POLL_SECONDS) as local:
            predictor = FallbackPredictor(client, local, registry=CollectorRegistry())
            await reached(local, market.store, policy.revision)
            await predictor.predict(market.request)
            flat = market.store.set_policy(NAME, champion=None, flat="rolled back: drift")
            await reached(local, market.store, flat.revision)
            for _ in range(4):
                with pytest.raises(RefusedError, match="rolled back: drift"):
                    await predictor.predict(market.request)
            assert predictor.state is BreakerState.CLOSED  # the service is well; it was told not to answer
            async with aiohttp.ClientSession(url) as http:
                for path in ("/readyz", "/healthz"):
                    async with http.get(path) as response:
                        document = await response.json()
                        assert (response.status, document["models"][0]["flat"]) == (200, "rolled back: drift")
            back = market.set(Traffic())
            await reached(local, market.store, back.revision)
            assert (await predictor.predict(market.request))[0].policy_revision == back.revision


async def test_a_damaged_challenger_is_left_out_and_taken_in_when_repaired(market: Market, tmp_path: Path) -> None:
    market.set(Traffic())
    folder = market.store.package_folder(NAME, market.sound.evidence_digest)
    content = (folder / "model.onnx").read_bytes()
    with LocalPredictor(market.store.root, POLL_SECONDS) as local:
        (folder / "model.onnx").write_bytes(b"damaged")
        policy = market.set(Traffic(mode=Mode.CANARY, share=1.0))
        async with asyncio.timeout(20):
            while NAME not in local.failures:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        answers = await local.predict(market.request)
        assert {answer.arm for answer in answers} == {"champion"}
        assert {answer.policy_revision for answer in answers} == {policy.revision}
        assert "model.onnx" in local.failures[NAME]
        (folder / "model.onnx").write_bytes(content)
        async with asyncio.timeout(20):
            while {answer.arm for answer in await local.predict(market.request)} != {"challenger"}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert local.failures == {}
