"""Limits of a replica and its token, over real HTTP: what is refused, with which words, and that health stays open."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from pydantic import SecretStr
from serving_packages import put_in_store, request_for, verified

from core.errors import BadInputError, ConfigurationError, UnavailableError
from core.settings import ServingSettings
from serving.application import build_asgi, replica_options
from serving.authentication import LoopbackOnly, Message, Receive, Send, is_loopback, required_token_digest
from serving.client import ServeClient
from serving.codec import BINARY, encode_request
from serving.environment import free_ports
from serving.limits import Limits
from serving.release.evidence import VerifiedPackage
from serving.store import ModelStore

TOKEN = SecretStr("0123456789abcdef-right")
MEGABYTE = 1024 * 1024


@pytest.fixture
def package(tmp_path: Path) -> VerifiedPackage:
    found = verified(tmp_path / "package")
    put_in_store(ModelStore(tmp_path / "serving"), found, "1")
    return found


@asynccontextmanager
async def served(folder: Path, settings: ServingSettings) -> AsyncIterator[str]:
    """Run the replica's application on uvicorn, as Serve does."""
    (port,) = free_ports(1)
    application = build_asgi(folder / "serving", 5.0, Limits.of(settings), required_token_digest(settings))
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error", lifespan="on"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def test_only_the_token_opens_what_is_not_health(tmp_path: Path, package: VerifiedPackage) -> None:
    request = request_for(package)
    async with served(tmp_path, ServingSettings(host="0.0.0.0", token=TOKEN)) as url:
        async with aiohttp.ClientSession(url) as http:
            for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/docs", 401), ("/no", 401)):
                async with http.get(path) as response:
                    assert (path, response.status) == (path, status)
            async with http.post("/v1/echo", data=b"x") as response:
                assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
                assert "TIDEGATE_SERVING__TOKEN" in (await response.json())["error"]
            for shown in ("Basic 0123456789abcdef-right", "Bearer 0123456789abcdef-righ", "Bearer ", ""):
                async with http.get("/metrics", headers={"Authorization": shown}) as response:
                    assert response.status == 401
            async with http.get(
                "/metrics", headers={"authorization": f"bearer {TOKEN.get_secret_value()}"}
            ) as response:
                assert response.status == 200
        async with ServeClient(url, 5.0, TOKEN) as client:
            assert len(await client.predict(request)) == 3
        for wrong in (None, SecretStr("0123456789abcdef-wrong")):
            async with ServeClient(url, 5.0, wrong) as client:
                # Unavailable, not refused: the trader's own champion answers then.
                with pytest.raises(UnavailableError, match="answered 401"):
                    await client.predict(request)


async def test_a_body_over_the_limit_is_refused_declared_or_not(tmp_path: Path, package: VerifiedPackage) -> None:
    request = request_for(package)
    small, large = encode_request(request), bytes(MEGABYTE + 1)

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    settings = ServingSettings(maximum_body_megabytes=1, maximum_ongoing_megabytes=1)
    async with served(tmp_path, settings) as url, aiohttp.ClientSession(url) as http:
        headers = {"content-type": BINARY}
        for path in ("/v1/predict", "/v1/echo"):
            for body in (large, chunks(large)):
                async with http.post(path, data=body, headers=headers) as response:
                    assert response.status == 413
                    assert "1,048,576" in (await response.json())["error"]
            async with http.post(path, data=chunks(small), headers=headers) as response:
                assert response.status == 200  # and the room of the refused ones was given back
        async with ServeClient(url, 5.0) as client:
            with pytest.raises(BadInputError, match="did not take the request"):
                await client.predict(request_for(package, 50_000))


@pytest.mark.parametrize(
    ("settings", "held"),
    [
        (ServingSettings(maximum_ongoing_requests=1), 1000),
        (ServingSettings(maximum_body_megabytes=1, maximum_ongoing_megabytes=1), MEGABYTE),
    ],
    ids=["requests", "bytes"],
)
async def test_a_full_replica_refuses_at_once_and_goes_on_afterwards(
    tmp_path: Path, package: VerifiedPackage, settings: ServingSettings, held: int
) -> None:
    request = request_for(package)
    async with served(tmp_path, settings) as url, ServeClient(url, 5.0) as client:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # A request whose body never comes to its end holds its place.
        writer.write(b"POST /v1/echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n123" % held)
        await writer.drain()
        async with asyncio.timeout(10), aiohttp.ClientSession(url) as http:
            while True:
                try:
                    await client.predict(request)
                except UnavailableError as error:
                    assert "answered 503: overloaded: 1 requests" in error.message
                    break
            async with http.post("/v1/predict", data=encode_request(request)) as response:
                assert (response.status, response.headers["retry-after"]) == (503, "1")
                assert list(json.loads(await response.read())) == ["error"]
            async with http.get("/healthz") as response:
                assert response.status == 200
            writer.write(bytes(held - 3))
            await writer.drain()
            assert (await reader.readline()).split()[1] == b"200"
            while True:
                try:
                    assert len(await client.predict(request)) == 3
                    break
                except UnavailableError:
                    await asyncio.sleep(0.01)
            async with http.get("/metrics") as response:
                counted = re.search(r'tidegate_serving_refused_total{status="503"} (\S+)', await response.text())
                assert counted is not None and float(counted[1]) >= 2
        writer.close()


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.1.2.3", 403), (None, 403)])
async def test_without_a_token_a_listener_of_unknown_reach_answers_this_machine_only(
    address: str | None, status: int
) -> None:
    async def application(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    for path, expected in (("/predict", status), ("/readyz", 200)):
        seen: list[int] = []
        server = None if address is None else (address, 3000)
        await LoopbackOnly(application)({"type": "http", "path": path, "server": server}, receive, send)
        assert seen == [expected]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.1.2.3", "trading.example"])
def test_a_listener_that_others_reach_needs_a_token(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError, match="TIDEGATE_SERVING__TOKEN"):
        required_token_digest(ServingSettings(host=host))
    assert required_token_digest(ServingSettings(host=host, token=TOKEN)) is not None


def test_the_service_does_not_start_beyond_this_machine_without_one(tmp_path: Path) -> None:
    environment = os.environ | {"TIDEGATE_STATE_DIRECTORY": str(tmp_path), "TIDEGATE_SERVING__HOST": "0.0.0.0"}
    command = [sys.executable, "-m", "serving.server"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("tidegate serve: TIDEGATE_SERVING__HOST=0.0.0.0 can be reached from other machines")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_none_and_checks_one_that_is_set(host: str) -> None:
    assert required_token_digest(ServingSettings(host=host)) is None
    assert required_token_digest(ServingSettings(host=host, token=TOKEN)) is not None


def test_replicas_are_a_number_or_two_that_serve_scales_between() -> None:
    assert replica_options(ServingSettings(replicas=3)) == {"num_replicas": 3}
    assert replica_options(ServingSettings(replicas=3, maximum_replicas=3)) == {"num_replicas": 3}
    options = replica_options(ServingSettings(replicas=1, maximum_replicas=4, upscale_delay_seconds=3))
    assert list(options) == ["autoscaling_config"]
    config = options["autoscaling_config"]
    assert (config["min_replicas"], config["max_replicas"], config["upscale_delay_s"]) == (1, 4, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"replicas": 3, "maximum_replicas": 2}, "less than replicas"),
        ({"token": "short"}, "at least 16"),
        ({"token": "with a line\nbreak in it"}, "printable"),
        ({"maximum_body_megabytes": 65}, "less than or equal to 64"),
        ({"maximum_body_megabytes": 32, "maximum_ongoing_megabytes": 16}, "never fits"),
        ({"maximum_ongoing_requests": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ServingSettings(**wrong)  # type: ignore[arg-type]
