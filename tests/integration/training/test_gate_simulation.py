"""The whole search and the gate on small simulated markets: resumed, spread over processes, the same every time."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.errors import BadInputError
from training.simulation.run import Simulation, simulate
from training.simulation.verdict import Outcome, SimulationOptions

PARAMS: dict[str, Any] = {"seed": 3, "evaluation": {"bootstrap_draws": 200}}
SMALL = SimulationOptions(
    trials=12, boosted=1, steps=2400, strength=0.3, seed=8
)  # a seed whose dozen trials find the state


def run(folder: Path, markets: int, planted: int, workers: int = 1) -> tuple[Simulation, list[Outcome]]:
    seen: list[Outcome] = []
    result = simulate(markets, planted, SMALL, PARAMS, folder, workers, lambda outcome, done, of: seen.append(outcome))
    return result, seen


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulation, list[Outcome]]:
    """A simulation killed after its first market and called again: its result, and what the second call made."""
    folder = tmp_path_factory.mktemp("simulation")

    class KilledError(Exception):
        pass

    def killed(outcome: Outcome, done: int, of: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        simulate(1, 1, SMALL, PARAMS, folder, 1, killed)
    return run(folder, 1, 1)


def test_noise_is_refused_a_strong_signal_is_let_through_and_a_killed_run_goes_on(alone: Any) -> None:
    result, made = alone
    assert len(made) == 1, "the market judged before the kill is not judged again"
    none, planted = result.outcomes
    assert (none.kind, planted.kind) == ("none", "planted")
    assert not none.passed and {"deflated_sharpe", "superior_to_flat"} <= set(none.failed)
    assert planted.passed and planted.found, planted.failed
    assert none.trials == planted.trials == SMALL.trials
    # What nobody can exceed: the winner has less skill than the exact probabilities, which are no use in noise.
    assert planted.bayes_direction_skill > 0.02
    assert planted.direction_skill < planted.bayes_direction_skill
    assert abs(none.bayes_direction_skill) < 1e-3
    assert result.false_passes is not None and result.false_passes.count == 0
    assert result.passes is not None and (result.passes.count, result.passes.of) == (1, 1)
    assert set(result.refused_without_signal) == set(none.failed)


@pytest.mark.heavy
def test_workers_and_order_change_nothing(alone: Any, tmp_path: Path) -> None:
    together, made = run(tmp_path, 1, 1, workers=2)
    assert len(made) == 2
    assert msgspec.to_builtins(alone[0]) == msgspec.to_builtins(together)


@pytest.mark.parametrize(
    ("markets", "planted", "changes", "workers", "words"),
    [
        (0, 0, {}, 1, "nothing to simulate"),
        (1, 0, {"trials": 3}, 1, "at least 4 trials"),
        (1, 0, {"boosted": 9}, 1, "boosted ones in its free half"),
        (1, 0, {"steps": 100}, 1, "too few to validate"),
        (0, 1, {"strength": 0.0}, 1, "strength"),
        (1, 0, {}, 0, "workers"),
    ],
)
def test_a_simulation_that_makes_no_sense_is_refused_before_it_starts(
    tmp_path: Path, markets: int, planted: int, changes: dict[str, Any], workers: int, words: str
) -> None:
    options = msgspec.structs.replace(SMALL, **changes)
    with pytest.raises(BadInputError, match=words):
        simulate(markets, planted, options, PARAMS, tmp_path / "none", workers, lambda *_: None)
    assert not (tmp_path / "none").exists()
