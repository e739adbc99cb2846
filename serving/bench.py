"""What a prediction costs over the ingress, beside a bare echo of the same bodies through the same replica."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import aiohttp
import numpy as np

from core.domain import PredictionRequest
from core.embedded.guarded import GuardedProcess
from core.errors import UnavailableError
from core.files import read_json
from core.settings import Settings, get_settings
from serving.client import ServeClient
from serving.codec import BINARY, encode_request
from serving.local import LocalPredictor

_START_SECONDS = 120.0
_BATCH = 1024


def run(url: str | None = None, requests: int = 2000, batches: int = 100) -> dict[str, Any]:
    """Measure the champion of the first strategy and return milliseconds, rows a second and ratios.

    Args:
        url: a running service; None starts one of its own on the models of the settings' state directory.
        requests: single predictions, echoes and local predictions to time, interleaved.
        batches: batches of 1,024 rows to time.

    Raises:
        UnavailableError: no service, or no published model.
    """
    if url is not None:
        return asyncio.run(_measure(url, requests, batches))
    settings = get_settings()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        ready_file = Path(folder) / "ready.json"
        command = [sys.executable, "-m", "serving.server", "--ready-file", str(ready_file)]
        with GuardedProcess(command, environment=_environment(settings), log_file=Path(folder) / "log") as service:
            started = time.monotonic()
            while not ready_file.exists():
                if not service.running or time.monotonic() - started > _START_SECONDS:
                    lines = (Path(folder) / "log").read_text(errors="replace").splitlines() or ["no output"]
                    raise UnavailableError(f"the inference service did not start: {lines[-1]}")
                time.sleep(0.02)
            seconds = time.monotonic() - started
            result = asyncio.run(_measure(read_json(ready_file)["url"], requests, batches))
            stopping = time.monotonic()
            service.stop()
        return result | {"start_seconds": round(seconds, 1), "stop_seconds": round(time.monotonic() - stopping, 1)}


def _environment(settings: Settings) -> dict[str, str]:
    return os.environ | {"TIDEGATE_STATE_DIRECTORY": str(settings.state), "TIDEGATE_SERVING__PORT": "0"}


async def _measure(url: str, requests: int, batches: int) -> dict[str, Any]:
    async with ServeClient(url, 10.0) as client, aiohttp.ClientSession(url) as http:
        async with http.get("/readyz") as response:
            state = await response.json()
        if not state["models"]:
            raise UnavailableError(f"{url} serves no model; publish one")
        model: dict[str, Any] = state["models"][0]
        one, many = _request(model, 1), _request(model, _BATCH)
        body = encode_request(one)
        headers = {"Content-Type": BINARY, "x-request-disconnect-disabled": "?1"}

        async def echo() -> None:
            async with http.post("/v1/echo", data=body, headers=headers) as answer:
                await answer.read()

        with LocalPredictor(get_settings().state / "serving") as local:
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "predict": lambda: client.predict(one),
                "echo": echo,
            }
            if local.pointer(one.strategy) is not None:
                calls["local"] = lambda: local.predict(one)
            for call in calls.values():
                await _seconds(call, 100)
            # In short turns, so that a busy moment of the machine falls on all of them alike.
            times: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(max(requests // 50, 1)):
                for name, call in calls.items():
                    times[name] += await _seconds(call, 50)
        batch = await _seconds(lambda: client.predict(many), batches)
    result: dict[str, Any] = {"model": model["model_name"], "lookback": model["lookback"], "cpus": os.cpu_count()}
    for name, values in times.items():
        for quantile in (50, 99):
            result[f"{name}_p{quantile}_ms"] = round(float(np.percentile(values, quantile)) * 1e3, 3)
    result["predict_over_echo_p50"] = round(result["predict_p50_ms"] / result["echo_p50_ms"], 2)
    result["batch_rows_per_second"] = round(_BATCH / float(np.median(batch)))
    return result


def _request(model: dict[str, Any], rows: int) -> PredictionRequest:
    shape = (rows, cast(int, model["lookback"]), len(model["features"]))
    names = tuple(f"I{row}" for row in range(rows))
    features = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return PredictionRequest(model["strategy"], 1, names, names, model["feature_digest"], features)


async def _seconds(call: Callable[[], Awaitable[Any]], count: int) -> list[float]:
    found: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        await call()
        found.append(time.perf_counter() - started)
    return found
