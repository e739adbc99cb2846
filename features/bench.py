"""Benchmarks of this room: ``run`` is what ``tidegate bench features`` prints."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS, BarKind, Panel
from core.errors import TidegateError
from features.batch import compute
from features.live import LiveFeatures
from features.sets import feature_set

INSTRUMENTS = (
    "AUD_USD",
    "EUR_CHF",
    "EUR_GBP",
    "EUR_JPY",
    "EUR_USD",
    "GBP_USD",
    "USD_CAD",
    "USD_CHF",
    "USD_JPY",
)
BUDGET = {"rows_per_second": 5e6, "live_step_microseconds": 5.0, "join_seconds": 5.0, "join_gigabytes": 2.0}
_HOUR = 3_600_000_000_000
_START = 1_100_000_400_000_000_000
_ENTITY_ROWS = 100_000
_JOIN_STEPS = 62_222  # nine instruments: 560,000 rows


def made_panel(steps: int, instruments: tuple[str, ...] = INSTRUMENTS, seed: int = 1) -> Panel:
    """Return hourly bars of a random walk: invented prices, good for timing and nothing else."""
    generator = np.random.default_rng(seed)
    count = len(instruments)
    close = np.exp(np.cumsum(generator.normal(0.0, 1e-3, (steps, count)), axis=0))
    opening = close * np.exp(generator.normal(0.0, 3e-4, (steps, count)))
    high = np.maximum(opening, close) * (1.0 + np.abs(generator.normal(0.0, 3e-4, (steps, count))))
    low = np.minimum(opening, close) * (1.0 - np.abs(generator.normal(0.0, 3e-4, (steps, count))))
    half = 5e-5 * (1.0 + generator.random((steps, count)))
    values = np.empty((steps, count, len(INPUT_COLUMNS)))
    for position, price in enumerate((opening, high, low, close)):
        values[:, :, position] = price * (1.0 - half)
        values[:, :, position + 4] = price * (1.0 + half)
    values[:, :, 8] = generator.poisson(60.0, (steps, count))
    time_ns = _START + _HOUR * np.arange(steps, dtype=np.int64)
    arrival = np.repeat(time_ns[:, None], count, axis=1)
    return Panel(instruments, time_ns, arrival, values, BarKind.BAR)


def batch_speed(name: str, steps: int = 20_000, repeats: int = 5) -> dict[str, float]:
    """Return rows a second of the compiled fold alone and of ``compute`` with its result array, best of repeats."""
    from features.advance import Advancer
    from features.kernel import fold
    from features.state import KernelState, currency_index

    panel = made_panel(steps)
    definition = feature_set(name)
    rows = steps * len(panel.instruments)
    compute(panel.between(0, _START + 10 * _HOUR), definition)  # compile or load the machine code
    whole: list[float] = []
    kernel: list[float] = []
    base, quote, currencies = currency_index(panel.instruments)
    out = np.zeros((steps, len(panel.instruments), len(definition.columns)))
    for _ in range(repeats):
        start = time.perf_counter()
        Advancer(KernelState.fresh(definition, panel.instruments)).advance(panel.time_ns, panel.values)
        whole.append(time.perf_counter() - start)
        state = KernelState.fresh(definition, panel.instruments)
        start = time.perf_counter()
        fold(panel.time_ns, panel.values, base, quote, currencies, state.floats, state.counters, state.history, out)
        kernel.append(time.perf_counter() - start)
    return {
        "features": len(definition.columns),
        "rows": rows,
        "rows_per_second": rows / min(kernel),
        "rows_per_second_with_new_result_array": rows / min(whole),
    }


def live_speed(name: str, instruments: tuple[str, ...], steps: int = 3_000) -> dict[str, float]:
    """Return the time of one ``LiveFeatures.update``, per instrument, in microseconds."""
    panel = made_panel(steps + 500, instruments)
    live = LiveFeatures(feature_set(name), instruments, window=20)
    taken: NDArray[np.float64] = np.empty(len(panel.time_ns))
    for index, moment in enumerate(panel.time_ns):
        start = time.perf_counter()
        live.update(int(moment), panel.values[index])
        taken[index] = time.perf_counter() - start
    micro = taken[500:] * 1e6
    return {
        "instruments": len(instruments),
        "step_p50_microseconds": float(np.median(micro)),
        "step_p99_microseconds": float(np.quantile(micro, 0.99)),
        "per_instrument_p50_microseconds": float(np.median(micro)) / len(instruments),
    }


def join_speed() -> dict[str, float]:
    """Time the point-in-time join through Feast, and pandas ``merge_asof`` on the same question; in this process."""
    import pandas as pd

    from features.stages import write_outputs
    from features.store import apply, historical_features, open_store

    definition = feature_set("bars")
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        workspace = Path(folder)
        panel = made_panel(_JOIN_STEPS)
        write_outputs(workspace / "data/processed/features", panel, definition, int(panel.time_ns[-100]))
        generator = np.random.default_rng(2)
        moments = generator.integers(int(panel.time_ns[300]), int(panel.time_ns[-1]), _ENTITY_ROWS) // 1000
        entities = pd.DataFrame(
            {
                "instrument": np.array(panel.instruments, dtype=object)[generator.integers(0, 9, _ENTITY_ROWS)],
                "event_timestamp": pd.to_datetime(moments, unit="us", utc=True),
            }
        )
        del panel
        apply(open_store(workspace), definition)
        before = _peak_gigabytes()
        start, processor = time.perf_counter(), time.process_time()
        historical_features(workspace, entities, definition)
        joined, processor = time.perf_counter() - start, time.process_time() - processor
        peak = _peak_gigabytes()
        start, peer_processor = time.perf_counter(), time.process_time()
        table = pd.read_parquet(workspace / "data/processed/features/features.parquet")
        asked = entities.astype({"event_timestamp": "datetime64[us, UTC]"}).sort_values("event_timestamp")
        pd.merge_asof(asked, table.sort_values("event_timestamp"), on="event_timestamp", by="instrument")
        peer, peer_processor = time.perf_counter() - start, time.process_time() - peer_processor
    return {
        "entity_rows": _ENTITY_ROWS,
        "feature_rows": _JOIN_STEPS * len(INSTRUMENTS),
        "features": len(definition.columns),
        "seconds": joined,
        "processor_seconds": processor,
        "merge_asof_seconds": peer,
        "merge_asof_processor_seconds": peer_processor,
        "peak_gigabytes": peak,
        "peak_before_gigabytes": before,
    }


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def run() -> dict[str, Any]:
    """Measure everything and return figures beside their budgets. The join runs in a process of its own, for memory.

    Raises:
        TidegateError: the join failed; the message is its last line.
    """
    finished = subprocess.run([sys.executable, "-m", "features.bench"], capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise TidegateError(f"the join benchmark failed: {finished.stderr.strip().splitlines()[-1:]}")
    return {
        "budget": BUDGET,
        "batch": {name: batch_speed(name) for name in ("fixings", "bars")},
        "live": {
            "bars, nine instruments": live_speed("bars", INSTRUMENTS),
            "bars, one instrument": live_speed("bars", INSTRUMENTS[4:5]),
        },
        "join": json.loads(finished.stdout.strip().splitlines()[-1]),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(join_speed()) + "\n")
