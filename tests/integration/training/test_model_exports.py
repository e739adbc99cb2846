"""Each library's model as one ONNX graph: same answers, same bytes, missing values and missing classes included."""

from typing import Any

import numpy as np
import pytest

from core.digest import digest_bytes
from core.errors import IntegrityError, UsageError
from training.dataset import TrainingData
from training.models import blend_graph, create, graph
from training.models.calibration import Slopes
from training.parameters import parse

COMPONENTS = ("lstm", "random_forest", "xgboost")
CALIBRATION = Slopes(0.6, 0.9).around(np.array([0.4, 0.25, 0.35]))
POOLED = Slopes(0.9, 0.7).around(np.array([0.3, 0.3, 0.4]))
FEATURES = 6


def rows(classes: tuple[int, ...] = (0, 1, 2), count: int = 900, lookback: int = 4) -> TrainingData:
    """Return rows whose class follows the last value of the first feature; one feature is always missing."""
    generator = np.random.default_rng(4)
    windows = generator.normal(size=(count, lookback, FEATURES)).astype(np.float32)
    score = windows[:, -1, 0] + generator.normal(size=count)
    labels = np.array(classes, np.int8)[
        np.searchsorted(np.quantile(score, np.arange(1, len(classes)) / len(classes)), score)
    ]
    windows[generator.random(windows.shape) < 0.1] = np.nan
    windows[:, :, 5] = np.nan
    time_ns = np.repeat(np.arange(count // 3, dtype=np.int64), 3) * 10
    return TrainingData(windows, labels, np.ones(count), time_ns, time_ns + 10)


def fitted(name: str, market: dict[str, Any], data: TrainingData) -> Any:
    content = {
        **market,
        "models": {
            **market["models"],
            "lstm": {"lookback": 4, "hidden": 6, "epochs": 4, "batch_size": 64, "learning_rate": 0.02},
        },
    }
    model = create(name, parse(content))
    last = data.windows[:, -model.lookback :]
    model.fit(TrainingData(last, data.labels, data.weights, data.time_ns, data.label_end_ns))
    return model


@pytest.fixture(scope="module")
def market() -> dict[str, Any]:
    from synthetic_market import parameters

    return parameters()


@pytest.mark.parametrize("name", COMPONENTS)
def test_two_fits_give_the_same_bytes_and_the_graph_answers_like_the_model(name: str, market: dict[str, Any]) -> None:
    data = rows()
    digests: list[str] = []
    for _ in range(2):
        model = fitted(name, market, data)
        content = graph.to_bytes(graph.with_calibration(model.graph(), CALIBRATION))
        digests.append(digest_bytes(content))
    windows = data.windows[:300, -model.lookback :].copy()
    windows[0] = np.nan
    expected = CALIBRATION.apply(model.predict_proba(windows))
    assert graph.check_parity(content, windows, expected) < 1e-5
    assert digests[0] == digests[1]
    answers = graph.run(content, windows[:1])
    assert answers.shape == (1, 3) and answers.sum() == pytest.approx(1.0, abs=1e-5)
    accuracy = (expected.argmax(axis=1) == data.labels[:300]).mean()
    assert accuracy > 0.4  # it learnt: a coin with three sides gets a third


def test_a_class_that_training_lacks_gets_no_probability(market: dict[str, Any]) -> None:
    data = rows(classes=(0, 2))
    model = fitted("random_forest", market, data)
    windows = data.windows[:50, -1:]
    expected = model.predict_proba(windows)
    assert graph.check_parity(graph.to_bytes(model.graph()), windows, expected) < 1e-6
    assert (expected[:, 1] == 0.0).all()


def test_the_blend_is_one_graph_of_all_components(market: dict[str, Any]) -> None:
    data = rows()
    models = {name: fitted(name, market, data) for name in COMPONENTS}
    weights = {"lstm": 0.2, "random_forest": 0.3, "xgboost": 0.5}
    parts = [(name, graph.with_calibration(models[name].graph(), CALIBRATION), weights[name]) for name in COMPONENTS]
    content = graph.to_bytes(blend_graph.merge(parts, POOLED))
    windows = data.windows[:200]
    pooled = sum(
        weights[name] * CALIBRATION.apply(models[name].predict_proba(windows[:, -models[name].lookback :]))
        for name in COMPONENTS
    )
    assert graph.check_parity(content, windows, POOLED.apply(pooled)) < 1e-5


def test_a_graph_that_answers_differently_is_refused(market: dict[str, Any]) -> None:
    data = rows()
    model = fitted("xgboost", market, data)
    content = graph.to_bytes(model.graph())
    windows = data.windows[:20, -1:]
    with pytest.raises(IntegrityError, match="differs from the fitted model"):
        graph.check_parity(content, windows, model.predict_proba(windows) + 2e-4)


def test_an_unknown_model_is_a_usage_error(market: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="unknown model 'perceptron'"):
        create("perceptron", parse(market))
