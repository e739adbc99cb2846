"""A dead or slow Serve costs its time-out once or twice, never each time; every answer says who made it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from serving_packages import put_in_store, request_for, verified

from core.domain import AnsweredBy
from core.errors import BadInputError, RefusedError, UnavailableError
from serving import codec
from serving.client import ServeClient
from serving.fallback import BreakerState, FallbackPredictor
from serving.local import LocalPredictor
from serving.predictor import PredictorCore
from serving.release.evidence import VerifiedPackage
from serving.store import ModelStore

TIMEOUT = 0.25


class RemoteService:
    """A real HTTP server that answers with the model, late or not at all, as told."""

    def __init__(self, package: VerifiedPackage) -> None:
        self.core = PredictorCore()
        self.core.install(package, version="1", revision=1)
        self.delay = 0.0
        self.status = 200
        self.asked = 0
        self.port = 0

    async def predict(self, request: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(self.delay)
        if self.status != 200:
            return web.json_response({"error": "told to fail"}, status=self.status)
        return web.Response(body=codec.encode_answer(self.core.predict(codec.decode_request(await request.read()))))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_post("/v1/predict", self.predict)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            await runner.cleanup()


@pytest.fixture
def package(tmp_path: Path) -> VerifiedPackage:
    return verified(tmp_path / "package")


@pytest.fixture
def local(tmp_path: Path, package: VerifiedPackage) -> LocalPredictor:
    put_in_store(ModelStore(tmp_path / "serving"), package, "1")
    predictor = LocalPredictor(tmp_path / "serving")
    with predictor:
        pass  # loads once; the tests need no polling
    return predictor


async def test_client_and_local_model_give_the_same_bits(package: VerifiedPackage, local: LocalPredictor) -> None:
    request = request_for(package)
    async with RemoteService(package).running() as url, ServeClient(url, TIMEOUT) as client:
        served, own = await client.predict(request), await local.predict(request)
    assert {p.answered_by for p in served} == {AnsweredBy.SERVE}
    for left, right in zip(served, own, strict=True):
        assert (left.probability_short, left.probability_flat, left.probability_long) == (
            right.probability_short,
            right.probability_flat,
            right.probability_long,
        )
        assert left.model_digest == right.model_digest


async def test_client_errors_are_one_clear_line_of_the_right_kind(package: VerifiedPackage) -> None:
    service, request = RemoteService(package), request_for(package)
    async with service.running() as url, ServeClient(url, TIMEOUT) as client:
        for status, kind in (
            (400, BadInputError),
            (413, BadInputError),
            (409, RefusedError),
            (404, UnavailableError),
            (500, UnavailableError),
            (503, UnavailableError),
        ):
            service.status = status
            with pytest.raises(kind, match="told to fail"):
                await client.predict(request)
        service.status, service.delay = 200, 5.0
        started = time.perf_counter()
        with pytest.raises(UnavailableError, match=r"0\.25 s"):
            await client.predict(request)
        assert time.perf_counter() - started < 4.0
    async with ServeClient(url, TIMEOUT) as client:
        with pytest.raises(UnavailableError, match="does not answer"):
            await client.predict(request)


async def test_a_connection_closed_while_idle_costs_no_failure(package: VerifiedPackage) -> None:
    service, request = RemoteService(package), request_for(package)
    async with service.running() as url:
        client = ServeClient(url, 5.0)
        await client.predict(request)
    async with service.running():  # the same port: the kept connection is dead, the service is not
        assert len(await client.predict(request)) == 3
    await client.close()


async def test_breaker_opens_probes_and_closes(package: VerifiedPackage, local: LocalPredictor) -> None:
    service, request, clock = RemoteService(package), request_for(package), [0.0]
    registry = CollectorRegistry()
    async with service.running() as url, ServeClient(url, TIMEOUT) as client:
        predictor = FallbackPredictor(client, local, now=lambda: clock[0], registry=registry)

        async def answered() -> AnsweredBy:
            (who,) = {p.answered_by for p in await predictor.predict(request)}
            return who

        async def probe_is_over() -> None:
            async with asyncio.timeout(10):
                while predictor.state is BreakerState.HALF_OPEN:  # noqa: ASYNC110 - nobody signals it
                    await asyncio.sleep(0.01)

        assert await answered() is AnsweredBy.SERVE
        service.delay = 60.0
        assert [await answered(), await answered()] == [AnsweredBy.LOCAL] * 2
        assert predictor.state is BreakerState.OPEN
        asked = service.asked
        assert [await answered() for _ in range(20)] == [AnsweredBy.LOCAL] * 20
        assert service.asked == asked  # nobody was asked, so nobody waited

        clock[0] = 0.6  # the first pause is over: one probe, the decision does not wait for it
        assert await answered() is AnsweredBy.LOCAL
        assert predictor.state is BreakerState.HALF_OPEN
        assert await answered() is AnsweredBy.LOCAL
        await probe_is_over()
        assert service.asked == asked + 1
        assert predictor.state is BreakerState.OPEN
        clock[0] = 1.5  # the pause has doubled to a second
        assert await answered() is AnsweredBy.LOCAL
        assert predictor.state is BreakerState.OPEN

        service.delay, clock[0] = 0.0, 1.7
        assert await answered() is AnsweredBy.LOCAL
        await probe_is_over()
        assert predictor.state is BreakerState.CLOSED
        assert await answered() is AnsweredBy.SERVE
        await predictor.close()
    name = "tidegate_predictions_answered_total"
    assert registry.get_sample_value(name, {"answered_by": "serve"}) == 2 * 3
    assert registry.get_sample_value(name, {"answered_by": "local"}) == 26 * 3
    assert registry.get_sample_value("tidegate_prediction_breaker_open") == 0


async def test_single_failures_do_not_open_the_breaker(package: VerifiedPackage, local: LocalPredictor) -> None:
    service, request = RemoteService(package), request_for(package)
    async with service.running() as url, ServeClient(url, TIMEOUT) as client:
        predictor = FallbackPredictor(client, local, registry=CollectorRegistry())
        for _ in range(3):
            service.status = 500
            assert (await predictor.predict(request))[0].answered_by is AnsweredBy.LOCAL
            service.status = 200
            assert (await predictor.predict(request))[0].answered_by is AnsweredBy.SERVE
        assert predictor.state is BreakerState.CLOSED


async def test_a_refusal_is_passed_on_and_without_any_model_there_is_no_answer(
    package: VerifiedPackage, local: LocalPredictor, tmp_path: Path
) -> None:
    service, request = RemoteService(package), request_for(package)
    service.status = 409
    async with service.running() as url, ServeClient(url, TIMEOUT) as client:
        with pytest.raises(RefusedError, match="told to fail"):
            await FallbackPredictor(client, local, registry=CollectorRegistry()).predict(request)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with ServeClient(url, TIMEOUT) as client:
        empty = LocalPredictor(tmp_path / "empty")
        with pytest.raises(RefusedError, match="no verified model"):
            await FallbackPredictor(client, empty, registry=CollectorRegistry()).predict(request)
