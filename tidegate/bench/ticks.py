"""Ticks to replay: recorded ones where there are any, else seeded simulated ones that say so."""

from pathlib import Path

import numpy as np

from core.clock import NANOSECONDS
from core.domain import Quote
from core.errors import BadInputError

INSTRUMENT = "EUR_USD"
_START_NS = 1_398_988_800 * NANOSECONDS  # 2014-05-02, a Friday


def load_ticks(folder: Path | None, count: int, seed: int = 7) -> tuple[list[Quote], str]:
    """Return up to ``count`` quotes of EUR_USD in the order of time, and where they come from.

    Args:
        folder: of LEAN tick files of that pair; None simulates.
        count: at most so many.
        seed: of the simulation.

    Raises:
        BadInputError: the folder holds no ticks.
    """
    if folder is None:
        return simulated_ticks(count, seed), f"simulated, seed {seed}"
    from data.sources.interface import LoadOptions
    from data.sources.lean import LeanSource

    quotes: list[Quote] = []
    newest = 0
    batches = LeanSource().load(folder, [INSTRUMENT], None, None, LoadOptions())
    for batch in sorted(batches, key=lambda item: int(item.event_ns[0]) if len(item) else 0):
        bids, asks = batch.column("bid"), batch.column("ask")
        for time_ns, bid, ask in zip(batch.event_ns.tolist(), bids.tolist(), asks.tolist(), strict=True):
            if time_ns >= newest and 0 < bid <= ask:
                quotes.append(Quote(INSTRUMENT, time_ns, time_ns, bid, ask))
                newest = time_ns
    if not quotes:
        raise BadInputError(f"{folder} holds no ticks of {INSTRUMENT}: give another folder, or none to simulate")
    return quotes[:count], f"recorded: {folder.parent.parent.name} {folder.name}, {len(quotes):,} ticks there"


def simulated_ticks(count: int, seed: int) -> list[Quote]:
    """Return a seeded random walk in tenths of a pip, about eight ticks a second, spread 1 to 1.6 pips."""
    random = np.random.default_rng(seed)
    times = _START_NS + np.cumsum(random.exponential(0.12e9, count)).astype(np.int64) // 1_000_000 * 1_000_000
    bids = 138_700 + np.cumsum(random.integers(-3, 4, count))
    spreads = random.integers(10, 17, count)
    return [
        Quote(INSTRUMENT, time_ns, time_ns, bid / 1e5, (bid + spread) / 1e5, simulated=True)
        for time_ns, bid, spread in zip(times.tolist(), bids.tolist(), spreads.tolist(), strict=True)
    ]
