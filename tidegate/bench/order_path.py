"""From a tick to the broker's acceptance, hop by hop: a whole live session beside what its parts cost without us.

The practice broker, in a process of its own, pushes 200 ticks a second over its pricing stream. The trader takes them
through the OANDA adapter and the live feed into bars of five ticks; every bar goes through the feature kernel, one
prediction over HTTP (HAProxy, Ray Serve, onnxruntime), sizing, risk, the durable journal and the adapter to the broker.
Ledger (SQLite), transaction stream, status server and reconciliation run beside it as in any session.

Where a hop begins and ends:

* ``tick_to_bar``: the feed handed over the tick that closes the bar → guard, journal entry, bar and step are done.
* ``features``: one step of the kernel.
* ``prediction``: window, encoding, HTTP there and back, decoding, journal entry.
* ``decision``: risk state, sizing, journal entries, equity: until the desk is given the order.
* ``risk``: validation and all pre-trade limits. ``journal``: the request written out, encoding, write,
  fdatasync, order book.
* ``request``: connection and limits looked at, the last byte in the socket.
* ``broker``: its reply read, translated and written down.
* ``synchronisation``: the part of ``journal`` in which the loop waits for the disk.
* ``decision_to_bytes`` = risk + journal + request, ``…_less_disk`` without ``synchronisation``: what is left is our own
  code, and the machine's other work. ``tick_to_accepted`` is everything.

Floors are taken in the same run, 8 ms after each step: the same bytes written and synchronised raw in a prefilled file,
a bare HTTP echo of the size of an order, and the prediction's body through HAProxy and the same replica's echo route.
"""

import asyncio
import os
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.clock import from_rfc3339
from core.domain import PredictionRequest, Predictor
from core.scheduling import Priority
from core.settings import OandaSettings
from features.sets import feature_set
from serving.client import ServeClient
from serving.codec import encode_request
from serving.fallback import FallbackPredictor
from serving.local import LocalPredictor
from tidegate.bench.machine import machine, percentiles
from tidegate.bench.order_path_floors import ENTRY_BYTES, Floors
from tidegate.bench.order_path_model import FEATURE_SET, LOOKBACK, STRATEGY, publish_bench_model
from tidegate.bench.order_path_neighbour import Neighbour
from tidegate.bench.order_path_session import INSTRUMENT, SPEED, Stamps, trade
from tidegate.bench.order_path_venue import inference_service, loopback_echo, practice_broker

BYTES_BUDGET_MS, ACCEPTED_BUDGET_MS, PREDICTION_BUDGET = 0.5, 5.0, 1.5
BESIDE_BUDGET = 0.05  # how far a retraining on the same machine may move the p99 of the whole path
_MARKET_BEGINS = "2026-03-03T07:00:00Z"  # a Tuesday: no halt for days
_TICK_SECONDS = 3.0  # between two ticks of the practice broker's simulation, of its market


def run(orders: int, serving: bool = True, beside: Priority | None = None) -> dict[str, Any]:
    """Trade until ``orders`` orders were accepted and return the latencies beside budgets and floors.

    Args:
        orders: how many are counted; as many steps again bring none.
        serving: predict through Ray Serve; otherwise the same model answers in this process.
        beside: let a retraining of this priority run and stop in turn, and compare.

    Raises:
        UnavailableError: the practice broker or the inference service does not start.
        BadInputError: a package that is needed is not installed.
    """
    with ExitStack() as stack:
        scratch = tempfile.TemporaryDirectory(prefix="tidegate-bench-", dir=os.environ.get("TMPDIR"))
        folder = Path(stack.enter_context(scratch))
        publish_bench_model(folder / "serving", folder / "package")
        url = stack.enter_context(inference_service(folder)) if serving else ""
        port = stack.enter_context(loopback_echo())
        account = stack.enter_context(practice_broker(folder, INSTRUMENT, _MARKET_BEGINS, SPEED))
        local = stack.enter_context(LocalPredictor(folder / "serving"))
        before = os.getloadavg()[0]
        neighbour = stack.enter_context(Neighbour(folder, beside)) if beside is not None else None
        stamps, floors, ledger_lag = asyncio.run(_trade(orders, account, url, port, local, folder, neighbour))
        return _result(stamps, floors, ledger_lag, folder, serving, before)


async def _trade(
    orders: int,
    account: OandaSettings,
    url: str,
    port: int,
    local: LocalPredictor,
    folder: Path,
    neighbour: Neighbour | None,
) -> tuple[Stamps, Floors, bool | None]:
    phase_of = None if neighbour is None else lambda: neighbour.phase
    turns = asyncio.create_task(neighbour.alternate()) if neighbour is not None else None
    body = len(encode_request(_question()))
    start_ns = await asyncio.to_thread(_market_time, account)
    async with Floors(folder, port, url, body) as floors:
        try:
            if not url:
                stamps, summary = await trade(orders, account, start_ns, local, floors, folder, False, phase_of)
                return stamps, floors, summary.ledger_complete
            async with ServeClient(url, 0.25) as client:
                predictor: Predictor = FallbackPredictor(client, local)
                stamps, summary = await trade(orders, account, start_ns, predictor, floors, folder, True, phase_of)
                return stamps, floors, summary.ledger_complete
        finally:
            if turns is not None:
                turns.cancel()


def _question() -> PredictionRequest:
    """A request of the session's shape."""
    chosen = feature_set(FEATURE_SET)
    features = np.zeros((1, LOOKBACK, len(chosen.columns)), np.float32)
    identity = f"{STRATEGY}:{INSTRUMENT}:1772524800000000000"
    return PredictionRequest(STRATEGY, 1, (INSTRUMENT,), (identity,), chosen.digest, features)


def _market_time(account: OandaSettings) -> int:
    """Ask the practice broker for its time."""
    token = account.token.get_secret_value() if account.token is not None else ""
    question = urllib.request.Request(f"{account.rest_url}/admin/state", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(question, timeout=10) as reply:
        return from_rfc3339(msgspec.json.decode(reply.read())["time"])


def _result(
    stamps: Stamps, floors: Floors, ledger_complete: bool | None, folder: Path, serving: bool, load: float
) -> dict[str, Any]:
    hops = {name: percentiles(samples) for name, samples in stamps.samples.items()}
    bare = {name: percentiles(samples) for name, samples in floors.samples.items() if samples}
    written, accepted = hops["decision_to_bytes"], hops["tick_to_accepted"]
    raw, echo = bare["raw_write_and_fdatasync"], bare["loopback_echo"]
    result: dict[str, Any] = {
        "machine": machine(folder) | {"load_before": round(load, 2)},
        "ticks_per_second": SPEED / _TICK_SECONDS,
        "predictor": "Ray Serve through HAProxy" if serving else "local: the same model in the trader's process",
        "predictions_answered_by": stamps.answered_by,
        "ledger": "SQLite, complete" if ledger_complete else "SQLite, behind at the end",
        "hops": hops,
        "floors": bare,
        "floor_bytes": ENTRY_BYTES,
        "decision_to_bytes_over_raw_write": {
            "p50": round(written["p50_ms"] / raw["p50_ms"], 2),
            "p99": round(written["p99_ms"] / raw["p99_ms"], 2),
            "p99_less_raw_ms": round(written["p99_ms"] - raw["p99_ms"], 4),
        },
        "accepted_over_raw_write_and_echoes_p50": round(
            accepted["p50_ms"]
            / (raw["p50_ms"] + echo["p50_ms"] + (bare["serve_echo"]["p50_ms"] if "serve_echo" in bare else 0.0)),
            2,
        ),
        "decision_to_bytes_budget": _judged(written["p99_ms"], BYTES_BUDGET_MS),
        "decision_to_bytes_less_disk": _judged(hops["decision_to_bytes_less_disk"]["p99_ms"], BYTES_BUDGET_MS),
        "tick_to_accepted_budget": _judged(accepted["p99_ms"], ACCEPTED_BUDGET_MS),
    }
    if stamps.phases:
        result["beside_retraining"] = _compared(stamps)
    if "serve_echo" in bare:
        ratio = hops["prediction"]["p50_ms"] / bare["serve_echo"]["p50_ms"]
        met = "met" if ratio <= PREDICTION_BUDGET else f"missed by {ratio - PREDICTION_BUDGET:.2f}"
        result["prediction_budget"] = f"p50 {ratio:.2f} × a bare Serve echo, budget {PREDICTION_BUDGET:g} ×: {met}"
    return result


def _compared(stamps: Stamps) -> dict[str, Any]:
    """Latencies while a retraining runs beside those while it is stopped, of one session."""
    found: dict[str, Any] = {
        phase: {name: percentiles(samples) for name, samples in hops.items()} for phase, hops in stamps.phases.items()
    }
    if {"alone", "fitting"} <= set(found):
        alone, fitting = (found[phase]["tick_to_accepted"]["p99_ms"] for phase in ("alone", "fitting"))
        moved = fitting / alone - 1.0
        met = "met" if moved <= BESIDE_BUDGET else f"missed by {moved - BESIDE_BUDGET:.0%}"
        found["verdict"] = f"p99 of tick to accepted moves by {moved:+.1%}, budget {BESIDE_BUDGET:.0%}: {met}"
    return found


def _judged(p99_ms: float, budget_ms: float) -> str:
    verdict = "met" if p99_ms <= budget_ms else f"missed by {p99_ms - budget_ms:.3g} ms"
    return f"p99 {p99_ms:g} ms, budget {budget_ms:g} ms: {verdict}"


def table(result: dict[str, Any]) -> str:
    """Return the result as lines for a person: hops and floors in milliseconds."""
    found = result["machine"]
    lines = [
        f"{found['processor']}, {found['cores']} cores, load {found['load_before']} before and {found['load']} after, "
        f"Python {found['python']}, disk {found.get('disk', 'unknown')}",
        f"{result['ticks_per_second']:g} ticks/s; predictor: {result['predictor']} "
        f"(answered by {', '.join(f'{name} {count}' for name, count in result['predictions_answered_by'].items())}); "
        f"ledger: {result['ledger']}",
        f"{'ms':28}{'count':>8}{'p50':>10}{'p99':>10}{'p99.9':>10}{'max':>10}",
    ]
    for rows in (result["hops"], result["floors"]):
        for name, row in rows.items():
            figures = "".join(f"{row[key]:10.3f}" for key in ("p50_ms", "p99_ms", "p99.9_ms", "max_ms"))
            lines.append(f"{name:28}{row['count']:8d}{figures}")
    over = result["decision_to_bytes_over_raw_write"]
    lines.append(f"raw write: {result['floor_bytes']} bytes; decision to bytes is {over['p50']} × it at p50, "
                 f"{over['p99']} × at p99 ({over['p99_less_raw_ms']:+g} ms)")  # fmt: skip
    lines.append(f"decision to bytes: {result['decision_to_bytes_budget']}")
    lines.append(f"decision to bytes without waiting for the disk: {result['decision_to_bytes_less_disk']}")
    lines.append(f"tick to accepted: {result['tick_to_accepted_budget']}")
    for phase, hops in result.get("beside_retraining", {}).items():
        if phase == "verdict":
            lines.append(f"beside a retraining: {hops}")
            continue
        for name, row in hops.items():
            figures = "".join(f"{row[key]:10.3f}" for key in ("p50_ms", "p99_ms", "p99.9_ms", "max_ms"))
            lines.append(f"{f'{phase}: {name}':36}{row['count']:8d}{figures}")
    if "prediction_budget" in result:
        lines.append(f"prediction: {result['prediction_budget']}")
    return "\n".join(lines)
