"""Four writers of one lineage, killed again and again: every trial that was begun stays on record."""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
from trial_writer import write

from core.embedded.postgres import EmbeddedPostgres
from training.trials import Status, TrialLedger

LINEAGE = "market-killed"
WRITERS, KILLS, LAST_ROUNDS = 4, 6, 4

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Processes that start in milliseconds: the server has imported what they need, and has opened nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.trials"])
    return context


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'trials.db'}"
        return
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        yield server.url


def answers(log: Path, word: str) -> list[str]:
    """Return what a writer was told; a last line that the kill cut off counts as not told."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return [name for told, name in (line.split(" ", 1) for line in lines) if told == word]


def test_no_trial_is_lost_from_the_ledger_by_a_kill(context: ForkServerContext, url: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    logs = [tmp_path / f"{seed}.log" for seed in range(WRITERS + KILLS)]
    running: list[ForkServerProcess] = []

    def start(seed: int, rounds: int) -> None:
        process = context.Process(target=write, args=(url, LINEAGE, seed, str(logs[seed]), rounds))
        process.start()
        running.append(process)

    try:
        for seed in range(WRITERS):
            start(seed, 10**9)
        for kill in range(KILLS):
            deadline = time.monotonic() + 60.0
            while not answers(logs[kill], "begun"):  # it is past its opening, or the kill would hit nothing
                assert time.monotonic() < deadline, "a writer began nothing"
                time.sleep(0.01)
            time.sleep(float(generator.uniform(0.0, 0.2)))
            victim = running.pop(0)
            victim.kill()
            victim.join()
            # The last to start are let be: they close what the killed left open, and go on.
            start(WRITERS + kill, LAST_ROUNDS if kill >= KILLS - WRITERS else 10**9)
        for writer in running:
            writer.join(60.0)
            assert writer.exitcode == 0, "a writer that was not killed must end by itself"
    finally:
        for writer in running:
            writer.kill()
            writer.join()
    with TrialLedger(url) as ledger:
        found = {row.id: row for row in ledger.trials(LINEAGE)}
        assert ledger.verify(LINEAGE) == []
        assert ledger.count(LINEAGE) == len(found)
    assert sorted(row.sequence for row in found.values()) == list(range(1, len(found) + 1))
    assert {row.status for row in found.values()} <= {Status.COMPLETED, Status.LOST}, "nothing runs, nothing failed"
    begun = [name for log in logs for name in answers(log, "begun")]
    completed = [name for log in logs for name in answers(log, "completed")]
    assert len(begun) == len(set(begun)) and set(begun) <= set(found)
    assert all(found[name].status is Status.COMPLETED for name in completed)
    # A reply that the kill cut off: the row was begun, the writer never heard of it and cannot have closed it.
    assert {found[name].status for name in set(found) - set(begun)} <= {Status.LOST}
    lost = [row for row in found.values() if row.status is Status.LOST]
    assert all(row.reason and row.values == {} and row.steps == 0 for row in lost)
    assert 0 < len({row.owner for row in lost}) <= KILLS
