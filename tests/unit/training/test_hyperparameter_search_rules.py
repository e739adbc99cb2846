"""What a hyper-parameter search refuses, when it gives a trial up, when it ends, and how it edits params.yaml."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadInputError
from core.params import read_params
from training.parameters import parse
from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.parameters import PruningParameters, SearchParameters, read_search
from training.search.hyperparameters.patch import patched
from training.search.hyperparameters.pruning import reason_to_prune, rungs_of
from training.search.hyperparameters.space import read_space
from training.search.hyperparameters.stopping import front, reason_to_stop, since_better
from training.search.hyperparameters.study import Slot

REPOSITORY = Path(__file__).resolve().parents[3]
PARAMS = (REPOSITORY / "params.yaml").read_text()


def content(**search: Any) -> dict[str, Any]:
    raw = yaml.safe_load(PARAMS)
    raw["search"]["hyperparameters"].update(search)
    return raw


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trials": 0}, "trials must be at least 1, not 0"),
        ({"trials": None, "minutes": None}, "no budget"),
        ({"minutes": 0.0}, "minutes must be above 0"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"objectives": ["profit"]}, "no objective 'profit'; choose from drawdown, latency"),
        ({"objectives": []}, "objectives is empty"),
        ({"objectives": ["skill", "skill"]}, "named twice"),
        ({"sampler": "grid"}, "Invalid enum value 'grid'"),
        ({"pruning": {"kind": "percentile", "percentile": 100}}, "between 0 and 100"),
        ({"pruning": {"kinds": "none"}}, "unknown field"),
        ({"budget": 3}, "there is no budget"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_in_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        read_search(content(**change))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, r"space\.xgboost has no parameter"),
        (None, r"space\.xgboost has no parameter"),
        ({"depth": {"low": 1, "high": 2}}, "xgboost has no parameter depth; it has class_weights"),
        ({"l2": {"low": 2.0, "high": 1.0}}, "low 2 must be below high 1"),
        ({"l2": {"low": 0.0, "high": 1.0, "log": True}}, "must start above 0"),
        ({"l2": {"low": 0.0, "high": float("inf")}}, "finite"),
        ({"l2": {"low": 0.0, "high": 1.0, "step": 3.0}}, "does not fit"),
        ({"maximum_depth": {"low": 1.5, "high": 4}}, "whole number"),
        ({"maximum_depth": {"low": 0, "high": 4}}, "space.xgboost"),
        ({"subsample": {"low": 0.5, "high": 1.5}}, "space.xgboost"),
        ({"subsample": [0.5, 1.0]}, "choices"),
        ({"subsample": {"choices": [0.5]}}, "at least two"),
        ({"class_weights": {"choices": ["balanced", "equal"]}}, "space.xgboost"),
    ],
)
def test_a_space_that_is_none_is_refused_in_one_line(space: Any, words: str) -> None:
    raw = content(space={"xgboost": space})
    with pytest.raises(BadInputError, match=words) as caught:
        read_space("xgboost", parse(raw))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"hidden": {"low": 8, "high": 64, "log": True}}, "hidden 9 is no multiple of 4 heads"),
        ({"hidden": {"low": 8, "high": 64, "step": 4}, "heads": {"choices": [2, 8]}}, "hidden 12 is no multiple of 8"),
        ({"heads": {"low": 2, "high": 5}}, "hidden 24 is no multiple of 5 heads"),
    ],
)
def test_a_transformer_whose_heads_cannot_share_its_width_is_never_proposed(space: Any, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read_space("transformer", parse(content(space={"transformer": space})))


@pytest.mark.parametrize("model", ["forest", "blend", "chosen"])
def test_an_unknown_model_is_refused(model: str) -> None:
    with pytest.raises(BadInputError, match="choose one of gru, lstm, random_forest"):
        read_space(model, parse(content()))


def test_the_spaces_that_come_with_the_repository_can_be_searched() -> None:
    raw = content()
    parameters = parse(raw)
    for model in raw["search"]["hyperparameters"]["space"]:
        space = read_space(model, parameters)
        low = {name: d.low if hasattr(d, "low") else d.choices[0] for name, d in space.distributions().items()}
        changed = space.apply(parameters, low)
        for name, value in low.items():
            assert getattr(getattr(changed.models, model), name) == value
        others = [name for name in changed.models.__struct_fields__ if name != model]
        assert all(getattr(changed.models, name) == getattr(parameters.models, name) for name in others)


scores = st.lists(st.floats(-1.0, 1.0).map(lambda x: round(x, 2)), min_size=5, max_size=5)


@settings(max_examples=40)
@given(st.lists(scores, max_size=12), scores, st.integers(1, 4), st.sampled_from([20.0, 50.0, 80.0]))
def test_percentile_pruning_is_what_optuna_does_with_one_objective(
    earlier: list[list[float]], mine: list[float], done: int, percentile: float
) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.PercentilePruner(percentile, n_startup_trials=1, n_min_trials=3)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for values in earlier:
        study.add_trial(optuna.create_trial(value=values[-1], intermediate_values=dict(enumerate(values))))
    trial = study.ask()
    for step in range(done):
        trial.report(mine[step], step)
    parameters = PruningParameters(kind="percentile", percentile=percentile, warm_trials=3)
    said = reason_to_prune(parameters, 5, len(earlier), mine[:done], list(enumerate(earlier)))
    assert (said is not None) == trial.should_prune()


def test_hyperband_halves_at_its_rungs_within_a_bracket() -> None:
    parameters = PruningParameters(kind="hyperband", warm_trials=4, warm_folds=1, reduction=2)
    assert rungs_of(parameters, 5) == (1, 2, 4)
    assert rungs_of(parameters, 4) == (1, 2)
    assert rungs_of(parameters, 1) == ()
    # Slots 0, 3, 6, … are in the first bracket of three: rungs 1, 2 and 4.
    earlier = [(slot, [0.1 * slot] * 5) for slot in range(12)]
    assert reason_to_prune(parameters, 5, 12, [0.5], earlier) is not None  # third of 0.0, 0.3, 0.6, 0.9 and itself
    assert reason_to_prune(parameters, 5, 12, [0.7], earlier) is None
    assert reason_to_prune(parameters, 5, 13, [0.0], earlier) is None  # its bracket has no rung at fold 1
    assert reason_to_prune(parameters, 5, 13, [0.0, 0.0], earlier) is not None
    assert reason_to_prune(parameters, 5, 12, [0.0] * 5, earlier) is None  # the last fold is never pruned
    assert reason_to_prune(parameters, 5, 3, [0.0], earlier[:3]) is None  # too few to compare with


def slot(index: int, outcome: str = "complete", **values: float) -> Slot:
    return Slot(index, [index], {}, outcome, values=values, told=bool(outcome))


def test_values_are_shown_in_their_units() -> None:
    assert OBJECTIVES["skill"].shown(0.0068727836) == "0.6873 %"
    assert OBJECTIVES["sharpe"].shown(-0.11052882) == "-0.110529 a year"
    assert OBJECTIVES["size"].shown(41878.0) == "41878 bytes"


def test_the_front_is_what_no_other_matches() -> None:
    slots = [
        slot(0, skill=0.1, turnover=5.0),
        slot(1, skill=0.2, turnover=9.0),
        slot(2, skill=0.2, turnover=9.0),
        slot(3, skill=0.1, turnover=6.0),
        slot(4, "failed"),
        slot(5, skill=0.3, turnover=9.5),
    ]
    assert [s.index for s in front(slots, ["skill", "turnover"])] == [5, 1, 0]
    assert [s.index for s in front(slots, ["skill"])] == [5]
    assert [s.index for s in front(slots, ["turnover"])] == [0]
    assert front(slots[4:5], ["skill"]) == []
    assert since_better(slots[:5], ["skill"]) == 3
    assert since_better(slots, ["skill"]) == 0
    assert since_better(slots[:4], ["skill", "turnover"]) == 2


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_a_front_holds_every_point_that_is_not_beaten(points: list[tuple[int, int]]) -> None:
    slots = [slot(i, skill=float(a), turnover=float(b)) for i, (a, b) in enumerate(points)]
    found = {points[s.index] for s in front(slots, ["skill", "turnover"])}
    beaten = {p for p in points for q in points if q != p and q[0] >= p[0] and q[1] <= p[1]}
    assert found == set(points) - beaten


def test_budgets_and_patience_end_a_search() -> None:
    parameters = SearchParameters(trials=4, minutes=2.0, patience=2)
    done = [slot(0, skill=0.3), slot(1, skill=0.1), slot(2, "pruned")]
    assert reason_to_stop(parameters, done[:2], 0.0) is None
    assert reason_to_stop(parameters, done, 0.0) == "2 trials in a row brought nothing better"
    assert reason_to_stop(parameters, [*done[:2], slot(2, ""), slot(3, "")], 0.0) == "the budget of 4 trials is used up"
    assert reason_to_stop(parameters, done[:1], 120.0) == "the budget of 2 minutes is used up"
    pruned = [slot(i, "pruned") for i in range(3)]
    assert reason_to_stop(parameters, pruned, 0.0) is None, "nothing completed: nothing to compare with"


def test_found_values_go_into_the_file_and_nothing_else_changes() -> None:
    found = {"learning_rate": 0.0123, "maximum_depth": 5, "refit_rounds": 9}
    after = patched(PARAMS, "xgboost", found)
    changed = [line for line, old in zip(after.splitlines(), PARAMS.splitlines(), strict=True) if line != old]
    assert len(changed) == 1 and changed[0].startswith("  xgboost: { rounds: 300, learning_rate: 0.0123")
    expected = yaml.safe_load(PARAMS)
    expected["models"]["xgboost"] |= found
    assert yaml.safe_load(after) == expected


@pytest.mark.parametrize(
    "text",
    [
        "models:\n  xgboost:\n    rounds: 30 # as it is\n    subsample: 0.5\n# end\nseed: 1\n",
        "models:\n  xgboost: {rounds: 30}\nseed: 1\n",
        "models:\n  xgboost: {}\nseed: 1\n",
        "models:\n  lstm: {hidden: 8}\nseed: 1",
        "models: {chosen: best}\nseed: 1\n",
        "seed: 1",
        "seed: 1\nmodels:\n  xgboost:\n    rounds: 30",
    ],
)
def test_found_values_go_into_files_of_any_layout(text: str, tmp_path: Path) -> None:
    found = {"rounds": 40, "maximum_features": "sqrt", "l2": 1e-05}
    after = patched(text, "xgboost", found)
    (tmp_path / "params.yaml").write_text(after)
    expected = yaml.safe_load(text)
    expected.setdefault("models", {})
    expected["models"]["xgboost"] = {**(expected["models"].get("xgboost") or {}), **found}
    assert read_params(tmp_path / "params.yaml") == expected
    for comment in ("# as it is", "# end"):
        assert (comment in text) == (comment in after)
    assert np.isclose(read_params(tmp_path / "params.yaml")["models"]["xgboost"]["l2"], 1e-5)
