"""Ticks through the full loop, beside nautilus_trader's BacktestEngine on the same ticks and the same rule.

Ours: quote guard, bars aggregated in the loop, EMA cross, risk, order management, the paper exchange matching every
tick, and the journal on disk. Its orders are synchronised; nautilus keeps nothing on disk. Both are given the ticks in
memory in the form they take: quote blocks here, quote objects there. ``tick_by_tick`` is ours with the same ticks one
at a time, as a live feed gives them.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.domain import BarKind, Heartbeat, Quote, default_instrument
from core.errors import BadInputError, UnavailableError
from core.journal import read_entries
from tidegate.bench.machine import machine
from tidegate.bench.ticks import INSTRUMENT, load_ticks
from trading import records
from trading.brokers.paper import PaperBroker
from trading.config import TraderConfig
from trading.feeds.blocks import BlockFeed, QuoteBlock
from trading.feeds.lockstep import LockstepClock
from trading.feeds.paper import PaperFeed
from trading.matching.book import AccountConfiguration
from trading.risk.parameters import RiskParameters
from trading.strategy.ema_cross import EmaCross, EmaCrossParameters
from trading.trader import JOURNAL, run_trader

PEER = "nautilus_trader==1.221.0"
FAST, SLOW, UNITS, BAR_SECONDS = 10, 20, 100_000, 60
_BALANCE = Decimal(1_000_000)


class TickFeed:
    """Quotes from a list, one at a time, the clock following."""

    def __init__(self, quotes: list[Quote], clock: LockstepClock) -> None:
        self._quotes = quotes
        self._clock = clock

    @property
    def heard_ns(self) -> int:
        """Nobody watches for silence."""
        return 0

    async def prime(self) -> list[Quote | Heartbeat]:
        """The first quote stands when the session begins."""
        self._clock.advance_to(self._quotes[0].time_ns)
        return [self._quotes[0]]

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        """The others."""
        advance = self._clock.advance_to
        for quote in self._quotes[1:]:
            advance(quote.time_ns)
            yield quote


def session(folder: Path) -> TraderConfig:
    """Return the session of the benchmark."""
    return TraderConfig(
        session_id="bench",
        session_directory=folder,
        account_key="paper:bench",
        market=BarKind.BAR,
        instruments=(INSTRUMENT,),
        feature_set="bars",
        state_path=folder / "unused",
        lookback=1,
        strategy="ema-cross",
        bar_seconds=BAR_SECONDS,
        risk=RiskParameters(maximum_order_units=2.0 * UNITS, stale_price_seconds=120.0, maximum_spread_pips=1000.0),
        status_port=None,
    )


class Taken(msgspec.Struct, frozen=True):
    """What one run took: seconds of the clock, and of the processor (a busy machine stretches only the first)."""

    seconds: float
    cpu_seconds: float


async def run_ours(quotes: list[Quote], folder: Path, one_by_one: bool = False) -> Taken:
    """Run the session and return what it took, from the first record to the summary."""
    clock = LockstepClock()
    feed = TickFeed(quotes, clock) if one_by_one else BlockFeed([QuoteBlock.of(quotes)], clock)
    broker = PaperBroker(
        {INSTRUMENT: default_instrument(INSTRUMENT)},
        clock,
        AccountConfiguration(balance=_BALANCE),
        start_ns=quotes[0].time_ns,
    )
    config = session(folder)
    parameters = EmaCrossParameters(FAST, SLOW, Decimal(UNITS))
    await broker.connect()
    began, cpu = time.perf_counter(), time.process_time()
    await run_trader(
        config,
        broker,
        None,
        clock,
        PaperFeed(feed, broker),
        handle_signals=False,
        strategy=lambda desk, degradation: EmaCross(config.strategy, config.instruments, parameters),
    )
    taken = Taken(time.perf_counter() - began, time.process_time() - cpu)
    await broker.close()
    return taken


def our_trades(folder: Path) -> list[tuple[int, int]]:
    """Return bar close and side (+1, -1) of each position taken."""
    trades: list[tuple[int, int]] = []
    for entry in read_entries(folder / JOURNAL):
        if entry.kind == "decision":
            decision = records.decode(entry)
            assert isinstance(decision, records.DecisionMade)
            if decision.order is not None and decision.target_units:
                trades.append((decision.time_ns, 1 if decision.target_units > 0 else -1))
    return trades


def run(ticks: Path | None, count: int, repeats: int, peer_python: Path | None) -> dict[str, Any]:
    """Measure ours and, with the peer's Python, nautilus: interleaved, the best and the median of each.

    Raises:
        BadInputError: no ticks, or too few.
        UnavailableError: the peer cannot be run.
    """
    quotes, origin = load_ticks(ticks, count)
    if len(quotes) < 1000:
        raise BadInputError(f"{len(quotes)} ticks are too few to measure with: give at least 1,000")
    ours: list[Taken] = []
    singly: list[Taken] = []
    theirs: list[Taken] = []
    trades: list[tuple[int, int]] = []
    their_trades: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch:
        place = Path(scratch)
        file = place / "ticks.npz"
        np.savez(
            file,
            time_ns=np.array([quote.time_ns for quote in quotes], np.int64),
            bid=np.array([quote.bid for quote in quotes]),
            ask=np.array([quote.ask for quote in quotes]),
        )
        # What is compiled is compiled once on a machine, and kept: not part of a session.
        asyncio.run(run_ours(quotes[:1000], place / "warm"))
        for number in range(repeats):
            folder = place / f"session-{number}"
            ours.append(asyncio.run(run_ours(quotes, folder)))
            singly.append(asyncio.run(run_ours(quotes, place / f"singly-{number}", one_by_one=True)))
            trades = our_trades(folder)
            if peer_python is not None:
                taken, their_trades = _run_peer(peer_python, file)
                theirs.append(taken)
        result: dict[str, Any] = {
            "machine": machine(place),
            "ticks": len(quotes),
            "origin": origin,
            "rule": f"EMA {FAST}/{SLOW} of bid closes, {BAR_SECONDS} s bars, {UNITS:,} units",
            "repeats": repeats,
            "ours": _figures(ours, len(quotes)) | {"trades": len(trades)},
            "ours_tick_by_tick": _figures(singly, len(quotes)),
        }
    if peer_python is None:
        result["peer"] = f"not measured: give --peer-python or --install-peer ({PEER})"
        return result
    result["peer"] = {"what": PEER} | _figures(theirs, len(quotes)) | {"trades": len(their_trades)}
    mine, other = result["ours"], result["peer"]
    result["ratio_of_medians"] = round(mine["ticks_per_second_median"] / other["ticks_per_second_median"], 3)
    result["ratio_by_processor_time"] = round(mine["ticks_per_cpu_second"] / other["ticks_per_cpu_second"], 3)
    result["target"] = "met" if result["ratio_of_medians"] >= 1.0 else "missed: below the peer"
    result["agreement"] = agreement(trades, their_trades)
    return result


def agreement(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> dict[str, Any]:
    """Compare the positions taken: how many at the same bar on the same side, and the first that only one has."""
    common = set(ours) & set(theirs)
    result: dict[str, Any] = {"same_bar_and_side": len(common), "ours": len(ours), "theirs": len(theirs)}
    single = sorted(set(ours) ^ set(theirs))
    if single:
        who = "ours" if single[0] in set(ours) else "theirs"
        result["first_of_one_only"] = {"who": who, "bar_ns": single[0][0], "side": single[0][1]}
    return result


def _figures(runs: list[Taken], ticks: int) -> dict[str, float]:
    return {
        "ticks_per_second_median": round(ticks / float(np.median([run.seconds for run in runs]))),
        "ticks_per_second_best": round(ticks / min(run.seconds for run in runs)),
        "ticks_per_cpu_second": round(ticks / float(np.median([run.cpu_seconds for run in runs]))),
    }


def _run_peer(python: Path, file: Path) -> tuple[Taken, list[tuple[int, int]]]:
    program = Path(__file__).with_name("nautilus_peer.py")
    arguments = [str(python), str(program), str(file), str(FAST), str(SLOW), str(UNITS), str(BAR_SECONDS)]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise UnavailableError(f"the peer {PEER} does not run with {python}: {detail.strip()[-300:]}") from None
    answer = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    taken = Taken(float(answer["seconds"]), float(answer["cpu_seconds"]))
    return taken, [(int(bar), int(side)) for bar, side in answer["trades"]]


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
            [str(python), "-m", "pip", "install", "--quiet", PEER], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise UnavailableError(f"{PEER} cannot be installed into {folder}: {detail.strip()[-300:]}") from None
    return python
