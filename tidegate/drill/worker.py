"""A warm worker: everything is imported once, no thread runs, and every seed's processes are forked from it.

Reads from stdin, one a line, a seed or the JSON of a day; writes one JSON result a line. Started by ``tidegate drill``.
"""

import gc
import json
import os
import shutil
import sys
import traceback
from pathlib import Path

import msgspec

from tidegate.drill.day import DayOrder, DayResult, DaySession
from tidegate.drill.plan import make_plan
from tidegate.drill.session import SeedResult, SeedSession, Surroundings


class WorkerOrder(msgspec.Struct, frozen=True):
    """What a worker is told on its command line."""

    folder: str
    state_path: str
    template: str
    postgres: str
    points: tuple[str, ...]
    steps: int
    keep: str  # folder for failing seeds
    deepest: int = 100  # at which passing of a point it is struck at most


def warm_up(state_path: Path) -> None:
    """Import what broker and trader need and load the compiled kernel, without starting a thread."""
    from importlib import import_module

    import numpy as np

    for name in ("tidegate.drill.trader", "trading.practice.server", "trading.ledger.rebuilding"):
        import_module(name)
    from core.domain import INPUT_COLUMNS
    from features.live import LiveFeatures
    from features.sets import feature_set
    from tidegate.drill.market import INSTRUMENTS

    live = LiveFeatures.restore(state_path, 2, feature_set("bars"), INSTRUMENTS)
    live.update(live.time_ns + 1, np.full((len(INSTRUMENTS), len(INPUT_COLUMNS)), np.nan))
    live.windows()
    gc.collect()
    gc.freeze()  # forked processes share these pages as long as nobody touches them


def run_seed(order: WorkerOrder, seed: int) -> SeedResult:
    """Run one seed in a folder of its own, which stays only where it failed."""
    folder = _fresh(order, f"seed-{seed}")
    plan = make_plan(seed, order.points, order.steps, order.deepest)
    result = SeedSession(plan, folder, _surroundings(order)).run()
    _tidy(order, folder, plan, result)
    return result


def run_day(order: WorkerOrder, day: DayOrder) -> DayResult:
    """Run a day in a folder of its own, which stays only where it failed."""
    folder = _fresh(order, f"day-{day.seed}")
    result = DaySession(day, folder, _surroundings(order)).day()
    _tidy(order, folder, day, result.result)
    return result


def _fresh(order: WorkerOrder, name: str) -> Path:
    folder = Path(order.folder) / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _surroundings(order: WorkerOrder) -> Surroundings:
    return Surroundings(Path(order.state_path), Path(order.template), order.postgres)


def _tidy(order: WorkerOrder, folder: Path, plan: msgspec.Struct, result: SeedResult) -> None:
    """Remove the folder of a session that passed; move the other one's to where failures are kept."""
    if result.problems:
        (folder / "plan.json").write_bytes(msgspec.json.format(msgspec.json.encode(plan)))
        (folder / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        kept = Path(order.keep) / folder.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(folder, kept)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Answer seeds until stdin ends."""
    order = msgspec.json.decode(sys.argv[1], type=WorkerOrder)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints must not look like an answer
    warm_up(Path(order.state_path))
    for line in sys.stdin:
        day = msgspec.json.decode(line, type=DayOrder) if line.startswith("{") else None
        seed = day.seed if day is not None else int(line)
        try:
            result = run_day(order, day) if day is not None else run_seed(order, seed)
            text = msgspec.json.encode(result).decode()
        except Exception:  # a mistake in the drill itself: this seed failed, the others go on
            text = json.dumps({"seed": seed, "crashed": traceback.format_exc()})
        answers.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
