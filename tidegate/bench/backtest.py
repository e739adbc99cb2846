"""The compiled backtester beside vectorbt on the same bars, the same EMA cross and the same parameter sets.

Ours: exact money in four decimals, bid and ask, margin, orders at the next open, equity at every bar. vectorbt:
averages, crossings and ``Portfolio.from_signals`` on middle closes with a fee of half the spread, and each set's total
return. Both on one core; figures are bars times sets a second of processor time: a busy machine stretches the clock.
"""

import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError, UnavailableError
from features.bench import made_panel
from tidegate.bench.machine import machine

PEER = ("vectorbt==1.0.0", "plotly<6")  # its plots do not load with a later plotly
INSTRUMENT = "EUR_USD"
UNITS = 100_000.0
FEE = 5e-5  # half of the spread of the bars
TARGET, EFFICIENCY_TARGET = 5.0, 0.8
_OTHERS: dict[str, dict[str, float]] = {
    "ema_cross": {"stop": 2.0, "target": 4.0},
    "channel_breakout": {},
    "mean_reversion": {},
}


def parameter_sets(count: int) -> NDArray[np.float64]:
    """Return fast and slow periods, float64 [P, 2]: fast 5 to 24, slow 30 to 129."""
    place = np.arange(count)
    return np.stack([5 + place % 20, 30 + (place // 20) % 100], axis=1).astype(np.float64)


def run(bars: int, sets: int, repeats: int, peer_python: Path | None) -> dict[str, Any]:
    """Measure ours on one and on two cores, other rules on one, and, with the peer's Python, vectorbt.

    Raises:
        BadInputError: too few bars or sets.
        UnavailableError: the peer cannot be run.
    """
    from trading.strategy.rules.catalogue import rule_of
    from training.backtest import Account, Market, Sizing, run_batch

    if bars < 1000 or sets < 16:
        raise BadInputError(f"{bars} bars and {sets} sets are too few to measure with: give at least 1,000 and 16")
    panel = made_panel(bars, (INSTRUMENT,))
    market = Market.from_panel(panel)
    account = Account(balance=Decimal(1_000_000), sizing=Sizing(units=UNITS))
    table = parameter_sets(sets)

    def measure(
        name: str, values: dict[str, float], workers: int, times: int
    ) -> tuple[list[float], list[float], float]:
        rule = rule_of(name)
        rows = np.tile(rule.row(values), (sets, 1))
        if name == "ema_cross":
            rows[:, :2] = table
        run_batch(market, rule, rows[:1], account, workers=1)  # compiles
        seconds: list[float] = []
        cpu: list[float] = []
        trades = 0.0
        for _ in range(times):
            began, used = time.perf_counter(), time.process_time()
            batch = run_batch(market, rule, rows, account, workers=workers)
            seconds.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
            trades = float(batch.column("trades").sum())
        return seconds, cpu, trades

    work = bars * sets
    # Interleaved: whatever else the machine does meets all of them.
    theirs: dict[str, Any] | None = None
    one: tuple[list[float], list[float], float] = ([], [], 0.0)
    two: tuple[list[float], list[float], float] = ([], [], 0.0)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch:
        file = Path(scratch) / "bars.npz"
        closes = panel.values[:, 0]
        np.savez(file, time_ns=panel.time_ns, close=0.5 * (closes[:, 3] + closes[:, 7]), sets=table)
        for turn in range(2):
            once = measure("ema_cross", {}, 1, repeats)
            both = measure("ema_cross", {}, 2, repeats)
            one = (one[0] + once[0], one[1] + once[1], once[2])
            two = (two[0] + both[0], two[1] + both[1], both[2])
            if turn == 0 and peer_python is not None:
                theirs = _run_peer(peer_python, file, repeats)
        result: dict[str, Any] = {
            "machine": machine(Path(scratch)),
            "bars": bars,
            "parameter_sets": sets,
            "origin": "simulated, seed 1",
            "rule": f"EMA cross of closes, {UNITS:,.0f} units, always in the market",
            "ours": _figures(one[0], one[1], work) | {"trades": int(one[2])},
            "ours_two_cores": _figures(two[0], two[1], work),
        }
    cores = len(os.sched_getaffinity(0))
    result["second_core_efficiency"] = "one core only"
    if cores > 1:
        efficiency = round(min(one[0]) / min(two[0]) / 2.0, 3)
        result["second_core_efficiency"] = efficiency
        met = efficiency >= EFFICIENCY_TARGET
        busy = "" if result["machine"]["load"] < 0.5 else f" (load {result['machine']['load']}: cores were shared)"
        # What the second core costs in work: waiting for a core that others use is not in it.
        share = result["ours_two_cores"]["bars_per_cpu_second"] / result["ours"]["bars_per_cpu_second"]
        result["second_core_by_processor_time"] = round(share, 3)
        result["second_core_target"] = ("met" if met else f"missed: below {EFFICIENCY_TARGET:g}") + busy
    result["other_rules"] = {
        name: _figures(*measure(name, values, 1, repeats)[:2], work) for name, values in _OTHERS.items()
    }
    if theirs is None:
        result["peer"] = f"not measured: give --peer-python or --install-peer ({PEER[0]})"
        return result
    whole, signals = theirs["cpu_seconds"], theirs["signal_cpu_seconds"]
    result["peer"] = {"what": PEER[0], "orders": theirs["orders"]} | _figures(theirs["seconds"], whole, work)
    result["peer"]["without_averages_bars_per_cpu_second"] = round(
        work / float(np.median([a - b for a, b in zip(whole, signals, strict=True)]))
    )
    ours = result["ours"]["bars_per_cpu_second"]
    result["ratio_by_processor_time"] = round(ours / result["peer"]["bars_per_cpu_second"], 2)
    result["ratio_to_its_simulation_alone"] = round(ours / result["peer"]["without_averages_bars_per_cpu_second"], 2)
    result["target"] = "met" if result["ratio_by_processor_time"] >= TARGET else f"missed: below {TARGET:g}"
    return result


def _figures(seconds: list[float], cpu_seconds: list[float], work: int) -> dict[str, float]:
    return {
        "bars_per_second_best": round(work / min(seconds)),
        "bars_per_second_median": round(work / float(np.median(seconds))),
        "bars_per_cpu_second": round(work / float(np.median(cpu_seconds))),
    }


def _run_peer(python: Path, file: Path, repeats: int) -> dict[str, Any]:
    program = Path(__file__).with_name("vectorbt_peer.py")
    arguments = [str(python), str(program), str(file), str(FEE), str(UNITS), str(repeats)]
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=1800, env=environment)
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise UnavailableError(f"the peer {PEER[0]} does not run with {python}: {detail.strip()[-300:]}") from None
    return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=dict[str, Any])


def install_peer(folder: Path) -> Path:
    """Make a virtual environment with the peer in ``folder``, if there is none, and return its Python.

    Raises:
        UnavailableError: it cannot be installed.
    """
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, text=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *PEER], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise UnavailableError(f"{PEER[0]} cannot be installed into {folder}: {detail.strip()[-300:]}") from None
    return python
