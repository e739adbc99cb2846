"""Where the processor time of the tick path goes: samples the stack each millisecond of CPU while ticks are replayed.

Usage: python scripts/profile_tick_path.py [TICKS [FOLDER OF LEAN TICKS]]. Prints the share of each function, its own
and with what it calls. Sampling costs little and distorts nothing, unlike a tracing profiler, which makes small
functions look expensive.
"""

import asyncio
import collections
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import structlog

from tidegate.bench.replay import run_ours
from tidegate.bench.ticks import load_ticks

own: collections.Counter[str] = collections.Counter()
inclusive: collections.Counter[str] = collections.Counter()


def _sample(_number: int, frame: FrameType | None) -> None:
    seen: set[str] = set()
    first = True
    while frame is not None:
        code = frame.f_code
        name = f"{Path(code.co_filename).stem}.{code.co_qualname}"
        if first:
            own[name] += 1
            first = False
        if name not in seen:
            inclusive[name] += 1
            seen.add(name)
        frame = frame.f_back


def main() -> None:
    """Replay simulated ticks and print the shares."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    quotes, _ = load_ticks(folder, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    signal.signal(signal.SIGPROF, _sample)
    with tempfile.TemporaryDirectory() as scratch:
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
        began = time.process_time()
        asyncio.run(run_ours(quotes, Path(scratch)))
        seconds = time.process_time() - began
        signal.setitimer(signal.ITIMER_PROF, 0)
    total = sum(own.values())
    sys.stdout.write(f"{len(quotes) / seconds:,.0f} ticks a second of processor time, {total} samples\n")
    for title, counts in (("own", own), ("with callees", inclusive)):
        sys.stdout.write(f"\n{title}\n")
        for name, count in counts.most_common(30):
            sys.stdout.write(f"{count / total:7.1%}  {name}\n")


if __name__ == "__main__":
    main()
