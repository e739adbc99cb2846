"""Meta-labels: the side of a rule, what becomes of rows, weights, probabilities, the graph and the size."""

import numpy as np
import pytest

from core.errors import BadInputError
from trading.strategy.sizing import SizingParameters, held_fraction, target_fraction
from training.dataset import Dataset
from training.label_parameters import BarrierParameters, LabelParameters, PrimaryParameters, check_labels
from training.labels import FLAT, LONG, SHORT
from training.labels.primary import PrimaryRule, allowed, only_side, primary_rule, side_frequencies, take_side
from training.labels.side_graph import restrict, with_side
from training.models.calibration import fit_slopes
from training.models.graph import INPUT, OUTPUT, assemble, run, to_bytes

RULE = PrimaryRule("momentum", 1, 0.5, 1)


def test_the_side_is_the_sign_beyond_the_threshold_and_nothing_where_unknown() -> None:
    features = np.array([[0, 0.6], [0, 0.5], [0, -0.51], [0, np.nan], [0, -0.5]], np.float32)
    assert RULE.sides(features).tolist() == [1, 0, -1, 0, 0]
    assert PrimaryRule("momentum", 1, 0.5, -1).sides(features).tolist() == [-1, 0, 1, 0, 0]
    options = LabelParameters(3, kind="meta_labels", primary=PrimaryParameters("momentum", 0.5, "fade"))
    assert primary_rule(options, ("other", "momentum")) == PrimaryRule("momentum", 1, 0.5, -1)
    assert primary_rule(LabelParameters(3), ("other",)) is None
    with pytest.raises(BadInputError, match=r"labels.primary.feature 'momentum' is no column"):
        primary_rule(options, ("other",))


def test_a_row_is_its_side_where_that_paid_and_ends_with_its_own_trade() -> None:
    columns = {
        "time_ns": np.array([10, 20, 30, 40, 50]),
        "bar": np.arange(5),
        "label": np.array([LONG, LONG, SHORT, FLAT, LONG]),
        "pays_long": np.array([True, True, False, False, True]),
        "pays_short": np.array([False, True, True, True, False]),
        "end_ns_long": np.array([11, 21, 31, 41, 51]),
        "end_ns_short": np.array([12, 22, 32, 42, 52]),
        "end_bar_long": np.arange(5) + 1,
        "end_bar_short": np.arange(5) + 2,
        "net_long": np.ones(5),
    }
    made = take_side(columns, np.array([1, -1, 1, -1, 0], np.int8))
    assert made["label"].tolist() == [LONG, SHORT, FLAT, SHORT, FLAT]
    assert made["label_end_ns"].tolist() == [11, 22, 31, 42, 50]
    assert made["end_bar"].tolist() == [1, 3, 3, 5, 4]
    assert made["side"].tolist() == [1, -1, 1, -1, 0]


def test_rows_with_nothing_to_take_weigh_nothing_and_crowd_nobody() -> None:
    count = 6
    dataset = Dataset(
        ("A",), np.zeros(count, np.int64), np.arange(count), np.arange(count) + 2, np.arange(count),
        np.zeros(count, np.int8), np.ones((count, 1), np.float32), ("f",), {}, 100, 3,
        np.array([2, 4, 4, 5, 4, 7]), np.array([1, 0, -1, 0, 0, 1], np.int8),
    )  # fmt: skip
    # Row 0 lives over (0, 2], row 2 over (2, 4], row 5 over (5, 7]: they never meet, the others are nobody's labels.
    assert dataset.weights.tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert len(dataset.training_data(np.arange(count), 1).labels) == 3


def test_the_side_that_is_not_taken_gets_no_probability() -> None:
    said = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    kept = only_side(said, np.array([1, -1, 0, 1], np.int8))
    assert kept == pytest.approx(np.array([[0, 0.375, 0.625], [0.4, 0.6, 0], [0, 1, 0], [0, 1, 0]]))
    assert only_side(said, None) is said


def test_frequencies_left_of_a_side_are_how_often_it_paid() -> None:
    side = np.repeat(np.array([1, -1, 0], np.int8), [1000, 500, 100])
    label = np.concatenate(
        [np.repeat([LONG, FLAT], [300, 700]), np.repeat([SHORT, FLAT], [400, 100]), np.full(100, FLAT)]
    )
    left = only_side(np.tile(side_frequencies(label, side, (side != 0) * 1.0), (2, 1)), np.array([1, -1], np.int8))
    assert left[0, LONG] == pytest.approx(0.3, abs=1e-3)
    assert left[1, SHORT] == pytest.approx(0.8, abs=5e-3)


def test_a_prediction_that_knows_nothing_is_calibrated_to_how_often_each_side_pays() -> None:
    generator = np.random.default_rng(4)
    side = np.where(generator.random(4000) < 0.5, 1, -1).astype(np.int8)
    label = np.where(generator.random(4000) < 0.4, np.where(side > 0, LONG, SHORT), FLAT).astype(np.int8)
    # A model of three classes that is sure of the side, and of far too much about whether it pays.
    pays = generator.uniform(0.05, 0.95, size=4000)
    said = np.zeros((4000, 3))
    said[np.arange(4000), np.where(side > 0, LONG, SHORT)] = pays
    said[:, FLAT] = 1.0 - pays
    frequencies = side_frequencies(label, side, np.ones(4000))
    slopes = fit_slopes(said, np.tile(frequencies, (4000, 1)), label, np.ones(4000), allowed(side))
    answer = only_side(slopes.around(frequencies).apply(said), side)
    assert 1.0 - answer[:, FLAT] == pytest.approx(np.full(4000, 0.4), abs=0.05)
    free = fit_slopes(said, np.tile(frequencies, (4000, 1)), label, np.ones(4000))
    worse = only_side(free.around(frequencies).apply(said), side)

    def loss(values: np.ndarray) -> float:
        return float(-np.log(values[np.arange(4000), label]).mean())

    assert loss(answer) < 0.69 and loss(answer) < loss(worse)


def test_the_graph_knows_the_side_from_the_row_it_is_asked_about() -> None:
    from onnx import helper, numpy_helper

    weights = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", [INPUT, "last"], ["row"], axis=1),
        helper.make_node("IsNaN", ["row"], ["is_nan"]),
        helper.make_node("Where", ["is_nan", "zero", "row"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    values = [
        numpy_helper.from_array(np.int64(-1), "last"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(weights, "weights"),
    ]
    model = assemble(nodes, values, 3, 2)
    windows = np.random.default_rng(2).normal(size=(200, 3, 2)).astype(np.float32)
    windows[:5, -1, 1] = [0.5, -0.5, np.nan, np.float32(0.50001), -0.6]
    free = run(to_bytes(model), windows)
    answer = run(to_bytes(with_side(model, RULE)), windows)
    assert answer == pytest.approx(restrict(free, windows, RULE), abs=1e-6)
    sides = RULE.sides(windows[:, -1])
    assert sides[:5].tolist() == [0, 0, 0, 1, -1]
    assert (answer[sides <= 0, LONG] == 0).all() and (answer[sides >= 0, SHORT] == 0).all()
    assert with_side(model, None) is model


def test_what_does_not_pay_is_lost_when_sizing() -> None:
    content = {"labels": {"kind": "meta_labels", "horizon": 4, "barriers": {"take_profit": 2.0, "stop_loss": 1.0}}}
    sizing = SizingParameters.from_params(content)
    assert sizing.skip_loss == 0.5
    assert SizingParameters.from_params({"labels": {"kind": "meta_labels", "horizon": 4}}).skip_loss == 1.0
    assert SizingParameters.from_params({"labels": {"kind": "triple_barrier", "horizon": 4}}).skip_loss == 0.0
    # Even odds lose where a loss is a win, and pay where it is half of one.
    even = SizingParameters(horizon=4, skip_loss=1.0)
    assert target_fraction(0.0, 0.5, 0.01, 1e-5, even) == 0.0
    assert target_fraction(0.0, 0.5, 0.01, 1e-5, sizing) > 0.0
    assert target_fraction(0.0, 0.3, 0.01, 1e-5, sizing) == 0.0
    assert target_fraction(0.6, 0.0, 0.01, 1e-5, sizing) == -target_fraction(0.0, 0.6, 0.01, 1e-5, sizing)
    for short, long in ((0.0, 0.7), (0.55, 0.0), (0.0, 0.2), (0.0, 0.0)):
        arrays = target_fraction(np.array([short]), np.array([long]), 0.01, 1e-4, sizing)
        assert arrays[0] == target_fraction(short, long, 0.01, 1e-4, sizing)
    assert held_fraction(0.3, 0.0, 0.0, 0.3, 0.01, 1e-5, sizing) == 0.0
    assert held_fraction(0.3, 0.0, 0.0, 0.6, 0.01, 1e-5, sizing) == 0.3


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LabelParameters(0), "labels.horizon must be at least 1"),
        (LabelParameters(50), "horizon 50 is not shorter than validation.train_steps 50"),
        (LabelParameters(1, minimum_edge=-1.0), "labels.minimum_edge must not be negative"),
        (LabelParameters(1, barriers=BarrierParameters(stop_loss=float("nan"))), "labels.barriers.stop_loss"),
        (LabelParameters(1, kind="triple_barrier", barriers=BarrierParameters(0, 0)), "neither take_profit nor stop_"),
    ],
)
def test_parameters_that_make_no_label_are_refused(labels: LabelParameters, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        check_labels(labels, 50)
