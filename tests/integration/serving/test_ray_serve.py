"""The real Ray Serve application, started once as its own process, without MLflow and without a database."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry
from serving_packages import approval_of, put_in_store, request_for, verified

from core.domain import AnsweredBy
from core.errors import RefusedError
from serving import codec
from serving.client import ServeClient
from serving.environment import check_port, make_folder
from serving.fallback import FallbackPredictor
from serving.local import LocalPredictor
from serving.release.evidence import VerifiedPackage
from serving.store import ModelStore
from serving.traffic.assignment import assigned
from serving.traffic.policy import Arm, Mode, Traffic
from serving.traffic.statistics import read_replicas

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]
START_SECONDS = 120


def environment(state: Path, port: int = 0) -> dict[str, str]:
    """Settings of the server; MLflow and the database point at nothing, to prove that neither is needed."""
    return os.environ | {
        "TIDEGATE_STATE_DIRECTORY": str(state),
        "TIDEGATE_SERVING__PORT": str(port),
        "TIDEGATE_SERVING__POLL_SECONDS": "0.1",
        "TIDEGATE_MLFLOW__TRACKING_URI": "http://127.0.0.1:1",
        "TIDEGATE_DATABASE__URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
    }


@dataclass
class Server:
    """The running server process and what it started."""

    process: subprocess.Popen[bytes]
    state: Path
    url: str
    pid: int  # of the service itself, below its guardian

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def start(state: Path) -> Server:
    ready = state / "ready.json"
    log = (state / "server.log").open("wb")
    command = [sys.executable, "-m", "serving.server", "--ready-file", str(ready)]
    process = subprocess.Popen(command, env=environment(state), stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError((state / "server.log").read_text())
        time.sleep(0.05)
    content = json.loads(ready.read_text())
    return Server(process, state, content["url"], content["pid"])


def ray_folder(server: Server) -> Path:
    """Return where the private Ray of the server lives."""
    return next(Path("/tmp").glob(f"tg-*/r/session_*_{server.pid}")).parents[1]


def gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes to end; return those that did not."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[VerifiedPackage]:
    folder = tmp_path_factory.mktemp("packages")
    return [verified(folder / str(index), bias=float(index)) for index in range(4)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, packages: list[VerifiedPackage]) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("state")
    put_in_store(ModelStore(state / "serving"), packages[0], "1")
    running = start(state)
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(30)


async def version_is(http: aiohttp.ClientSession, version: str) -> None:
    async with asyncio.timeout(20):
        while True:
            async with http.get("/readyz") as response:
                if (await response.json())["models"][0]["version"] == version:
                    return
            await asyncio.sleep(0.02)


async def test_answers_health_and_description_through_the_ingress(
    server: Server, packages: list[VerifiedPackage]
) -> None:
    request = request_for(packages[0])
    async with ServeClient(server.url, 10.0) as client:
        predictions = await client.predict(request)
    expected = packages[0].session.run(request.features)
    assert np.array_equal(np.array([p.probability_flat for p in predictions], np.float32), expected[:, 1])
    assert {(p.model_version, p.answered_by) for p in predictions} == {("1", AnsweredBy.SERVE)}
    async with aiohttp.ClientSession(server.url) as http:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            async with http.get(path) as response:
                assert (path, response.status) == (path, 200)
        for data, kind, status in ((b"noise", codec.BINARY, 400), (b"{}", codec.JSON, 400), (b"", "text/plain", 415)):
            async with http.post("/v1/predict", data=data, headers={"content-type": kind}) as response:
                assert response.status == status
                assert list(await response.json()) == ["error"]
        large = b"x" * (codec.MAXIMUM_BODY + 1)
        async with http.post("/v1/predict", data=large, headers={"content-type": codec.BINARY}) as response:
            assert response.status == 413


async def test_versions_change_under_load_without_a_failed_or_mixed_answer(
    server: Server, packages: list[VerifiedPackage]
) -> None:
    store = ModelStore(server.state / "serving")
    request = request_for(packages[0])
    expected = {p.model_digest: p.session.run(request.features)[:, 0] for p in packages}
    seen: list[str] = []
    stop = asyncio.Event()

    async def load(client: ServeClient) -> None:
        while not stop.is_set():
            predictions = await client.predict(request)
            digest = predictions[0].model_digest
            assert {p.model_digest for p in predictions} == {digest}
            assert np.array_equal(np.array([p.probability_short for p in predictions], np.float32), expected[digest])
            seen.append(predictions[0].model_version)

    async with ServeClient(server.url, 10.0) as client, aiohttp.ClientSession(server.url) as http:
        tasks = [asyncio.create_task(load(client)) for _ in range(4)]
        for number, package in enumerate(packages[1:], start=2):
            await asyncio.sleep(0.2)
            put_in_store(store, package, str(number), number)
            await version_is(http, str(number))
        pointer = put_in_store(store, packages[0], "1", 9)  # back again
        await version_is(http, "1")
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*tasks)
        predictions = await client.predict(request)
    assert set(seen) == {"1", "2", "3", "4"}
    assert predictions[0].policy_revision == pointer.revision


async def test_a_policy_reaches_the_replica_under_load_and_is_taken_back(
    server: Server, packages: list[VerifiedPackage]
) -> None:
    store, request = ModelStore(server.state / "serving"), request_for(packages[0], 20)
    champion, challenger = approval_of(packages[0], "1", 20), approval_of(packages[1], "2", 21)
    before = put_in_store(store, packages[0], "1", 20)
    store.add(packages[1])
    canary = Traffic(mode=Mode.CANARY, share=0.5, salt="release")
    revisions: list[int] = []
    stop = asyncio.Event()

    async def load(client: ServeClient) -> None:
        while not stop.is_set():
            answers = await client.predict(request)
            revision = answers[0].policy_revision
            for answer in answers:
                arm = assigned(canary, request.strategy, answer.instrument, request.time_ns)
                arm = arm if revision in taken else Arm.CHAMPION
                assert (answer.arm, answer.policy_revision) == (arm, revision)
            revisions.append(revision)

    async def until(revision: int) -> None:
        async with asyncio.timeout(20):
            while revision not in revisions[-1:]:  # noqa: ASYNC110 - asked over HTTP
                await asyncio.sleep(0.005)

    taken: set[int] = set()
    async with ServeClient(server.url, 10.0) as client:
        tasks = [asyncio.create_task(load(client)) for _ in range(2)]
        await until(before.revision)
        for _ in range(3):
            taken.add((store.pointer("tidegate-test") or before).revision + 1)
            policy = store.set_policy("tidegate-test", champion=champion, challenger=challenger, traffic=canary)
            await until(policy.revision)
            back = store.move(champion)
            await until(back.revision)
        stop.set()
        await asyncio.gather(*tasks)
    async with asyncio.timeout(20):  # a replica writes its figures four times a second
        while read_replicas(server.state)[0].revisions != {"tidegate-test": back.revision}:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
    (replica,) = read_replicas(server.state)
    (process,) = [p for p in server.descendants() if p.cmdline()[0].startswith("ray::ServeReplica")]
    assert (replica.pid, replica.revisions) == (process.pid, {"tidegate-test": back.revision})
    assert {(window.arm, window.version) for window in replica.arms} >= {("champion", "1"), ("challenger", "2")}


async def test_a_tampered_version_changes_nothing(server: Server, packages: list[VerifiedPackage]) -> None:
    store = ModelStore(server.state / "serving")
    standing = store.pointer("tidegate-test")
    assert standing is not None
    bad = verified(server.state / "bad", bias=9.0)
    folder = store.add(bad)
    (folder / "model.onnx").write_bytes((packages[0].folder / "model.onnx").read_bytes())
    store.move(approval_of(bad, "66", 66))
    async with aiohttp.ClientSession(server.url) as http, ServeClient(server.url, 10.0) as client:
        async with asyncio.timeout(20):
            while True:
                async with http.get("/readyz") as response:
                    state = await response.json()
                if state["failures"]:
                    break
                await asyncio.sleep(0.02)
        assert "the digest of model.onnx" in state["failures"]["tidegate-test"]
        assert state["models"][0]["version"] == standing.version
        predictions = await client.predict(request_for(packages[0]))
        assert predictions[0].model_version == standing.version
        store.move(standing.approval)
        await version_is(http, standing.version)


async def test_another_feature_set_is_refused_to_the_trader(server: Server, tmp_path: Path) -> None:
    other = verified(tmp_path / "other", feature_digest="0" * 64)
    async with ServeClient(server.url, 10.0) as client:
        with pytest.raises(RefusedError, match="was made for"):
            await client.predict(request_for(other))


def test_a_port_in_use_is_one_clear_line_and_exit_5(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "serving.server"]
        ended = subprocess.run(command, env=environment(tmp_path, port), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 5
    assert ended.stderr.strip().splitlines() == [
        f"tidegate serve: cannot serve on 127.0.0.1:{port}: Address already in use; stop what listens there or set "
        "TIDEGATE_SERVING__PORT"
    ]
    assert ended.stdout == ""


async def test_a_killed_replica_comes_back_from_its_disk_alone(server: Server, packages: list[VerifiedPackage]) -> None:
    request = request_for(packages[0])
    (replica,) = [p for p in server.descendants() if p.cmdline()[0].startswith("ray::ServeReplica")]
    with LocalPredictor(server.state / "serving") as local:
        async with ServeClient(server.url, 1.0) as client:
            predictor = FallbackPredictor(client, local, registry=CollectorRegistry())
            before = await predictor.predict(request)
            replica.kill()
            answers = [before]
            async with asyncio.timeout(60):
                while len(answers) < 5 or answers[-1][0].answered_by is AnsweredBy.LOCAL:
                    answers.append(await predictor.predict(request))
                    await asyncio.sleep(0.1)
            await predictor.close()
    assert {AnsweredBy.LOCAL, AnsweredBy.SERVE} == {answer[0].answered_by for answer in answers}
    assert {answer[0].probability_long for answer in answers} == {before[0].probability_long}
    (again,) = [p for p in server.descendants() if p.cmdline()[0].startswith("ray::ServeReplica")]
    assert again.pid != replica.pid


async def test_sigterm_stops_at_once_and_the_trader_goes_on_locally(
    server: Server, packages: list[VerifiedPackage]
) -> None:
    request = request_for(packages[0])
    processes = server.descendants()
    assert any(p.name() == "haproxy" for p in processes)
    folder = ray_folder(server)
    with LocalPredictor(server.state / "serving") as local:
        async with ServeClient(server.url, 1.0) as client:
            predictor = FallbackPredictor(client, local, registry=CollectorRegistry())
            before = await predictor.predict(request)
            server.process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            code = await asyncio.to_thread(server.process.wait, 30)
            assert time.monotonic() - started < 15  # measured 0.2 to 1.4 s; loose, the machine may be busy
            after = await predictor.predict(request)
            await predictor.close()
    assert code == 0
    assert gone(processes, 5) == []
    assert not folder.exists()
    assert not (server.state / "ready.json").exists()
    assert (before[0].answered_by, after[0].answered_by) == (AnsweredBy.SERVE, AnsweredBy.LOCAL)
    assert before[0].probability_long == after[0].probability_long


def test_sigkill_leaves_no_process_and_the_next_start_no_folder(
    tmp_path: Path, packages: list[VerifiedPackage]
) -> None:
    put_in_store(ModelStore(tmp_path / "serving"), packages[0], "1")
    killed = start(tmp_path)
    processes, folder = killed.descendants(), ray_folder(killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.process.wait(30)
    assert gone(processes, 15) == []
    port = int(killed.url.rpartition(":")[2])
    assert check_port("127.0.0.1", port) == port  # nobody holds it
    assert folder.exists()
    shutil.rmtree(make_folder())  # what the next start does first
    assert not folder.exists()


def test_killed_while_starting_it_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.server"]
    process = subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.DEVNULL, start_new_session=True)
    server = Server(process, tmp_path, "", 0)
    deadline = time.monotonic() + START_SECONDS
    while not any(p.name() == "raylet" for p in server.descendants()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    processes = server.descendants()
    process.kill()
    process.wait(10)
    assert gone(processes, 30) == []
    shutil.rmtree(make_folder())  # sweeps what the killed one left
