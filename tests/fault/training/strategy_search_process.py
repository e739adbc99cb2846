"""Runs a strategy search in processes of its own that end with SIGKILL at given places: ``python … FOLDER PLACE:N …``.

Each argument is one life: the process dies the N-th time it passes the place. ``end`` lets it live. Lives are forked
from here, where everything is imported and compiled once and no thread is running.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from strategy_search_market import made_study

import training.search.strategy.conclusion as conclusion
import training.search.strategy.evolve as evolve
import training.search.strategy.plots  # noqa: F401 - once, not in every life
import training.search.strategy.validation as validation
from training.search.strategy.backtests import Backtester
from training.search.strategy.recorder import Recorder
from training.search.strategy.study import run_study
from training.trials import TrialLedger

# Where a life may end: whose function it is, and whether the process dies before or after it.
PLACES: dict[str, tuple[Any, str, bool]] = {
    "window": (Backtester, "_window", True),  # rows are begun, some windows of the batch were backtested
    "recorded": (Recorder, "assess", False),  # the generation is in the ledger, not in the checkpoint
    "saved": (evolve, "save", False),  # between two generations
    "validation": (validation, "run_window", True),  # the rows of the one look are begun
    "result": (conclusion, "write_result", True),  # everything is on record, nothing is written
}


def mortal(original: Callable[..., Any], left: int, before: bool) -> Callable[..., Any]:
    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if before and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return called


def live(folder: Path, place: str, count: int) -> None:
    if place != "end":
        owner, name, before = PLACES[place]
        setattr(owner, name, mortal(getattr(owner, name), count, before))
    with TrialLedger(f"sqlite:///{folder}/trials.db") as ledger:
        run_study(made_study(folder), ledger)


def warm(folder: Path) -> None:
    """Load the compiled code."""
    study = made_study(folder)
    backtester = Backtester(study.history, study.candidates, 1)
    backtester([study.candidates.space.decode([0.5] * study.candidates.space.dimension)])


def main(folder: Path, lives: list[str]) -> None:
    warm(folder)
    for words in lives:
        place, _, count = words.partition(":")
        child = os.fork()
        if child == 0:
            live(folder, place, int(count or 1))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f"life {-os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
