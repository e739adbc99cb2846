"""The stack learns what independent components are worth, and its graph answers as it does."""

import numpy as np
import pytest

from core.errors import BadInputError
from training.models.calibration import Slopes
from training.models.stacking import LogisticStack, fit_stack
from training.parameters import parse


def components(count: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return [2, N, 3], one that overstates the evidence and one of noise; labels; frequencies."""
    generator = np.random.default_rng(4)
    evidence = generator.normal(size=count)
    base = np.log(np.array([0.4, 0.2, 0.4]))

    def said(direction: np.ndarray) -> np.ndarray:
        logits = base + direction[:, None] * np.array([-0.5, 0.0, 0.5])
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    truth = said(1.6 * evidence)
    labels = (truth.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1).clip(0, 2).astype(np.int8)
    stacked = np.stack([said(2.0 * evidence), said(generator.normal(size=count))])
    return stacked, labels, np.tile(np.exp(base), (count, 1))


def test_weights_are_those_that_made_the_labels() -> None:
    stacked, labels, frequencies = components()
    stack = fit_stack(stacked, frequencies, labels, np.ones(len(labels)), ridge=1e-6)
    assert stack.direction == pytest.approx([0.8, 0.0], abs=0.06)
    pulled = fit_stack(stacked, frequencies, labels, np.ones(len(labels)), ridge=100.0)
    assert pulled.direction == pytest.approx([0.5, 0.5], abs=0.01)
    equal = LogisticStack(np.full(2, 0.5), np.full(2, 0.5)).combine(stacked, frequencies)
    better = stack.combine(stacked, frequencies)
    rows = np.arange(len(labels))
    assert -np.log(better[rows, labels]).mean() < -np.log(equal[rows, labels]).mean()


def test_one_component_of_weight_one_stays_what_it_is_and_of_weight_zero_says_the_frequencies() -> None:
    stacked, _, frequencies = components(50)
    one, nothing = np.ones(1), np.zeros(1)
    assert LogisticStack(one, one).combine(stacked[:1], frequencies[0]) == pytest.approx(stacked[0], abs=1e-6)
    silent = LogisticStack(nothing, nothing).combine(stacked[:1], frequencies[0])
    assert silent == pytest.approx(frequencies, abs=1e-9)


def test_the_graph_of_a_stack_answers_as_the_stack_does() -> None:
    from onnx import helper

    from training.models import graph
    from training.models.blend import Blend

    def softmax_of_last_row(lookback: int, feature: int) -> object:
        """A calibrated component: its logits are one feature times constants."""
        nodes = [
            helper.make_node("Gather", [graph.INPUT, "last"], ["row"], axis=1),
            helper.make_node("MatMul", ["row", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [graph.OUTPUT], axis=1),
        ]
        from onnx import numpy_helper

        weights = np.zeros((2, 3), np.float32)
        weights[feature] = [-1.0, 0.3, 0.8]
        values = [numpy_helper.from_array(np.array(-1, np.int64), "last"), numpy_helper.from_array(weights, "weights")]
        calibration = Slopes(0.9, 0.9).around(np.array([0.3, 0.3, 0.4]))
        return graph.with_calibration(graph.assemble(nodes, values, lookback, 2), calibration)

    models = {"first": softmax_of_last_row(1, 0), "second": softmax_of_last_row(3, 1)}
    stack = LogisticStack(np.array([0.7, 0.9]), np.array([0.2, 1.0]))
    blend = Blend(("first", "second"), stack, Slopes(0.8, 0.6))
    frequencies = np.array([0.45, 0.15, 0.4])
    windows = np.random.default_rng(3).normal(size=(40, 3, 2)).astype(np.float32)
    said = [graph.run(model.SerializeToString(), windows[:, -rows:]) for model, rows in zip(models.values(), (1, 3))]  # type: ignore[attr-defined]  # noqa: B905
    content = graph.to_bytes(blend.graph(models, frequencies))
    assert graph.check_parity(content, windows, blend.answer(np.stack(said), frequencies)) < 1e-6
    assert set(blend.weights) == {"first_direction", "first_flatness", "second_direction", "second_flatness"}


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ({"components": []}, "models.components names no model"),
        ({"components": ["xgboost", "xgboost"]}, "names a model twice"),
        ({"components": ["perceptron"]}, "Invalid enum value 'perceptron'"),
        ({"components": ["xgboost"], "chosen": "lstm"}, "models.chosen is 'lstm', the trained ones are blend, xgboost"),
        ({"transformer": {"hidden": 10, "heads": 4}}, "no multiple of its 4 heads"),
        ({"lstm": {"lookback": 65}}, "<= 64"),
        ({"xgboost": {"rounds": 0}}, "`int` >= 1"),
        ({"xgboost": {"class_weights": {"long": 2.0}}}, "give one factor each for short, flat, long"),
        ({"random_forest": {"incremental": True}}, "unknown field `incremental`"),
        ({"blend": {"method": "vote"}}, "Invalid enum value 'vote'"),
    ],
)
def test_bad_model_parameters_end_before_any_work(models: dict[str, object], words: str) -> None:
    content = {
        "market": "made",
        "seed": 1,
        "data": {"instruments": ["EUR_USD"], "holdout": {"count": 1}},
        "features": {"set": "fixings"},
        "costs": {},
        "labels": {"horizon": 1},
        "validation": {"train_steps": 10},
        "models": models,
    }
    with pytest.raises(BadInputError) as refused:
        parse(content)
    assert words in str(refused.value)
