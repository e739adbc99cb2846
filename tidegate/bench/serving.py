"""What a prediction costs over the ingress, beside a bare echo of the same bodies and beside both peers.

All servers run at the same time, each in its own process, with the same ONNX file and one worker; one client with one
kept connection each asks them in short turns, so that a busy moment of the machine falls on all of them alike. Bodies
are encoded beforehand and answers are read, not parsed: what is measured is the server and the way there and back.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np

from core.domain import PredictionRequest
from core.errors import UnavailableError
from core.settings import Settings, get_settings
from serving.authentication import authorization
from serving.bento import build_bento
from serving.client import ServeClient
from serving.codec import BINARY, JSON, encode_request
from serving.release.evidence import MODEL_FILE, VerifiedPackage
from serving.store import ModelStore
from tidegate.bench.machine import machine
from tidegate.bench.serving_model import approved, write_tree_model
from tidegate.bench.serving_processes import MODEL_VARIABLE, bentoml_server, inference_service, mlflow_server
from tidegate.bench.serving_wrappers import wrapper_costs

BATCH = 1024
TURN = 25  # single requests to one server before the next one's turn
ECHO_LIMIT, PEER_LIMIT = 1.5, 0.6
ROWS_LIMIT, OVER_MLFLOW, OVER_BENTOML = 60_000, 6.0, 2.0
PEERS = ("mlflow", "bentoml")
_STRATEGY = "tidegate-made"
Call = Callable[[], Awaitable[None]]


def run(url: str | None, requests: int, batches: int, peers: bool) -> dict[str, Any]:
    """Measure and return milliseconds, rows a second, ratios and which budgets are met.

    Args:
        url: a running service over the models of the state directory; None starts one of its own: on the first
            champion of the state directory, or on a made model where there is none.
        requests: single predictions to time, of each server.
        batches: batches of 1,024 rows to time, of each server.
        peers: whether MLflow and BentoML serve the same model beside it.

    Raises:
        UnavailableError: a server does not start or answer.
        BadInputError: a library that makes the model or serves it is not installed.
    """
    settings = get_settings()
    before = machine()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        package, state, made = _model(settings, folder, url)
        if url is None:
            started = time.monotonic()
            url, _ = stack.enter_context(inference_service(state, folder))
            before["start_seconds"] = round(time.monotonic() - started, 1)
        servers = {"tidegate": url}
        if peers:
            home = folder / "bentoml"
            tag = build_bento(package, _STRATEGY, home)
            ours = {"BENTOML_HOME": str(home)}
            bare = {MODEL_VARIABLE: str(package.folder / MODEL_FILE), "BENTOML_HOME": str(home)}
            servers["mlflow"] = stack.enter_context(mlflow_server(package, folder))
            servers["bentoml"] = stack.enter_context(
                bentoml_server("tidegate.bench.bento_peer:BentoPeer", folder, bare, "bentoml")
            )
            servers["bento"] = stack.enter_context(bentoml_server(tag, folder, ours, "bento"))
        times = asyncio.run(_measure(servers, package, settings, requests, batches))
        wrappers = asyncio.run(wrapper_costs())
    result: dict[str, Any] = {
        "model": f"{package.manifest.name}, {package.session.lookback} x {package.session.feature_count} values"
        + (", made for this run" if made else ""),
        "machine": before | {"load_after": round(os.getloadavg()[0], 2)},
        "one_row": {
            name: {f"p{q}_ms": round(float(np.percentile(values, q)) * 1e3, 3) for q in (50, 99)}
            for name, values in times[0].items()
        },
        "batch_rows_per_second": {name: round(BATCH / float(np.median(values))) for name, values in times[1].items()},
        "wrappers_microseconds": wrappers,
    }
    return result | {"budgets": budgets(result)}


def budgets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each budget with its figure and whether it is met; none of a peer that did not run."""
    one = {name: values["p50_ms"] for name, values in result["one_row"].items()}
    rows = result["batch_rows_per_second"]
    found = [("one prediction p50 over a bare echo", one["tidegate"] / one["echo"], ECHO_LIMIT, "at most")]
    for peer in PEERS:
        if peer in one:
            found.append((f"one prediction p50 over {peer}", one["tidegate"] / one[peer], PEER_LIMIT, "at most"))
    found.append(("rows a second in batches of 1,024", float(rows["tidegate"]), float(ROWS_LIMIT), "at least"))
    for peer, limit in zip(PEERS, (OVER_MLFLOW, OVER_BENTOML), strict=True):
        if peer in rows:
            found.append((f"rows a second over {peer}", rows["tidegate"] / rows[peer], limit, "at least"))
    return [
        {
            "what": what,
            "figure": round(figure, 2),
            "budget": f"{words} {limit:,g}",
            "met": figure <= limit if words == "at most" else figure >= limit,
        }
        for what, figure, limit, words in found
    ]


def table(result: dict[str, Any]) -> str:
    """Return the result as text for a person."""
    rows = result["batch_rows_per_second"]
    lines = [f"model: {result['model']}", f"{'server':<16}{'p50 ms':>9}{'p99 ms':>9}{'rows/s at 1,024':>18}"]
    for name, values in result["one_row"].items():
        more = f"{rows[name]:>18,}" if name in rows else ""
        lines.append(f"{name:<16}{values['p50_ms']:>9.3f}{values['p99_ms']:>9.3f}{more}")
    lines.append(f"{'in process':<16}{'':>18}{rows['in_process']:>18,}")
    for item in result["budgets"]:
        lines.append(
            f"{'met   ' if item['met'] else 'MISSED'} {item['what']}: {item['figure']:,g}, budget {item['budget']}"
        )
    costs = ", ".join(f"{name} {value:g}" for name, value in result["wrappers_microseconds"].items())
    lines.append(f"microseconds of one echo inside the replica: {costs}")
    lines.append(f"machine: {', '.join(f'{name} {value}' for name, value in result['machine'].items())}")
    return "\n".join(lines)


def _model(settings: Settings, folder: Path, url: str | None) -> tuple[VerifiedPackage, Path, bool]:
    """Return the package to serve, the state directory that has it, and whether it was made for this run."""
    store = ModelStore(settings.state / "serving")
    for strategy in store.strategies():
        policy = store.pointer(strategy)
        if policy is not None and policy.champion is not None:
            return store.load(policy), settings.state, False
    if url is not None:
        raise UnavailableError(f"{settings.state} has no published model, so {url} cannot be measured: give --state")
    package = write_tree_model(folder / "package", strategy=_STRATEGY, seed=1)
    store = ModelStore(folder / "state" / "serving")
    store.add(package)
    store.set_policy(_STRATEGY, champion=approved([package], folder)[0])
    return package, folder / "state", True


async def _measure(
    servers: dict[str, str], package: VerifiedPackage, settings: Settings, requests: int, batches: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the seconds of single requests and of batches, by server."""
    one, many = _request(package, 1), _request(package, BATCH)
    token = settings.serving.token
    async with (
        aiohttp.ClientSession() as http,
        ServeClient(servers["tidegate"], 10.0, token) as client,
    ):

        def post(url: str, body: bytes, kind: str, **headers: str) -> Call:
            async def call() -> None:
                async with http.post(url, data=body, headers={"Content-Type": kind, **headers}) as answer:
                    content = await answer.read()
                    if answer.status != 200:
                        raise UnavailableError(f"{url} answered {answer.status}: {content[:200]!r}")

            return call

        async def decoded() -> None:
            await client.predict(one)

        async def in_process() -> None:
            package.session.run(many.features)

        ours = {"x-request-disconnect-disabled": "?1", **authorization(token)}
        address = servers["tidegate"]
        single: dict[str, Call] = {
            "tidegate": post(f"{address}/v1/predict", encode_request(one), BINARY, **ours),
            "echo": post(f"{address}/v1/echo", encode_request(one), BINARY, **ours),
            "tidegate json": post(f"{address}/v1/predict", _json(one), JSON, **ours),
            "trader's client": decoded,
        }
        batch: dict[str, Call] = {
            "tidegate": post(f"{address}/v1/predict", encode_request(many), BINARY, **ours),
            "tidegate json": post(f"{address}/v1/predict", _json(many), JSON, **ours),
            "in_process": in_process,
        }
        for name, key, path in (
            ("mlflow", "inputs", "invocations"),
            ("bentoml", "features", "predict"),
            ("bento", "features", "predict"),
        ):
            if name in servers:
                for request, calls in ((one, single), (many, batch)):
                    body = msgspec.json.encode({key: request.features.tolist()})
                    calls[name] = post(f"{servers[name]}/{path}", body, JSON, **authorization(token))
        return await _turns(single, requests, TURN, 50), await _turns(batch, batches, 2, 3)


async def _turns(calls: dict[str, Call], count: int, turn: int, warm: int) -> dict[str, list[float]]:
    for call in calls.values():
        for _ in range(warm):
            await call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(max(count // turn, 1)):
        for name, call in calls.items():
            for _ in range(turn):
                started = time.perf_counter()
                await call()
                times[name].append(time.perf_counter() - started)
    return times


def _request(package: VerifiedPackage, rows: int) -> PredictionRequest:
    shape = (rows, package.session.lookback, package.session.feature_count)
    names = tuple(f"I{row}" for row in range(rows))
    features = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return PredictionRequest(package.manifest.strategy, 1, names, names, package.manifest.feature_digest, features)


def _json(request: PredictionRequest) -> bytes:
    return msgspec.json.encode(
        {
            "strategy": request.strategy,
            "time_ns": request.time_ns,
            "instruments": request.instruments,
            "decision_ids": request.decision_ids,
            "feature_digest": request.feature_digest,
            "features": request.features.tolist(),
        }
    )
