"""A writer of the trial ledger that is killed: it begins and closes trials, and notes what it was told.

What the ledger has acknowledged goes to a file at once: a kill leaves what the writer heard, not what it had in mind.
"""

import os
import time

import numpy as np

from training.trials import Draft, TrialLedger


def write(url: str, lineage: str, seed: int, log: str, rounds: int) -> None:
    """Begin and close trials for ``rounds`` rounds, about a third of them batches."""
    generator = np.random.default_rng(seed)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    times = np.arange(1, 201, dtype=np.int64) * 1_000_000_000

    def acknowledged(word: str, ids: list[str]) -> None:
        os.write(handle, "".join(f"{word} {name}\n" for name in ids).encode())

    with TrialLedger(url) as ledger:
        for number in range(rounds):
            if generator.random() < 0.3:
                drafts = [Draft({"x": float(generator.random())}, 1, number * 100 + place) for place in range(20)]
                with ledger.batch(f"study {seed}", "backtest", "rule", lineage, drafts, "c") as batch:
                    acknowledged("begun", batch.ids)
                    for place in range(20):
                        batch.complete(place, {"sharpe": float(place)}, generator.normal(size=200), times)
                acknowledged("completed", batch.ids)
                continue
            with ledger.trial(f"study {seed}", "fit", "model", lineage, {"n": number}, 1, "c", number) as trial:
                acknowledged("begun", [trial.id])
                for fold in range(2):
                    trial.fold(fold, float(generator.random()), 10)
                    time.sleep(0.01)  # the work; most kills fall into it
                trial.complete({"loss": float(generator.random())}, generator.normal(size=200), times)
            acknowledged("completed", [trial.id])
