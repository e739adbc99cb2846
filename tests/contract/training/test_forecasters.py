"""Each model against the contract, and what only some of them promise."""

from typing import Any, ClassVar

import numpy as np
import pytest
from forecaster_contract import ForecasterContract, content_of, for_model, made_rows

from core.errors import BadInputError, UsageError
from training.models import create, graph
from training.models.class_weights import class_factors
from training.models.interface import Forecaster
from training.parameters import parse

TREES = {"rounds": 60, "learning_rate": 0.15, "minimum_child_weight": 5, "early_stopping": 10, "refit_rounds": 40}
NETWORK = {
    "lookback": 4,
    "hidden": 8,
    "epochs": 6,
    "batch_size": 64,
    "learning_rate": 0.02,
    "patience": 3,
    "refit_epochs": 5,
    "accelerator": "cpu",
}


class TestXgboost(ForecasterContract):
    name = "xgboost"
    section: ClassVar[dict[str, Any]] = {**TREES, "class_weights": {"short": 1.0, "flat": 3.0, "long": 1.0}}


class TestMonotoneXgboost(ForecasterContract):
    name = "xgboost"
    section: ClassVar[dict[str, Any]] = {**TREES, "monotone": {"slow": -1, "noise": 1}, "class_weights": "balanced"}

    def test_the_odds_of_long_to_short_follow_the_constraint(self, fitted: Forecaster) -> None:
        windows = for_model(made_rows(seed=20), 1).windows[:40]
        content = graph.to_bytes(fitted.graph())
        for feature, direction in (("slow", -1), ("noise", 1)):
            column = ("signal", "slow", "noise").index(feature)
            grid = np.repeat(windows, 31, axis=0)
            grid[:, 0, column] = np.tile(np.linspace(-3.0, 3.0, 31), len(windows))
            for said in (fitted.predict_proba(grid), graph.run(content, grid)):
                odds = np.log(said[:, 2] / said[:, 0]).reshape(len(windows), 31)
                assert (direction * np.diff(odds, axis=1) > -1e-5).all(), feature

    def test_without_a_constraint_it_is_the_library_s_own_softmax(self) -> None:
        plain = {**TREES, "subsample": 1.0, "column_sample": 1.0}
        said: list[np.ndarray] = []
        data = for_model(made_rows(), 1)
        # A constraint on the feature that is always empty constrains nothing.
        for section in (plain, {**plain, "monotone": {"empty": 1}}):
            model = create("xgboost", parse(content_of("xgboost", section)))
            model.fit(data)
            said.append(model.predict_proba(data.windows))
        assert np.abs(said[0] - said[1]).max() < 1e-3

    def test_a_feature_that_is_not_there_is_refused(self) -> None:
        section = {**TREES, "monotone": {"carry": 1}}
        model = create("xgboost", parse(content_of("xgboost", section)))
        with pytest.raises(BadInputError, match="monotone names carry: the rows have signal, slow"):
            model.fit(for_model(made_rows(), 1))


class TestRandomForest(ForecasterContract):
    name = "random_forest"
    section: ClassVar[dict[str, Any]] = {"trees": 40, "maximum_depth": 5, "minimum_leaf": 15, "sample_share": 0.6}

    def test_a_refit_goes_on_from_what_is_fitted(self, fitted: Forecaster) -> None:  # type: ignore[override]
        with pytest.raises(UsageError, match="cannot go on from a fitted one"):
            fitted.refit(for_model(made_rows(seed=12), 1))

    def test_medians_are_those_of_scikit_learn(self) -> None:
        from sklearn.impute import SimpleImputer

        from training.models.random_forest import column_medians, filled

        generator = np.random.default_rng(2)
        for rows in (100, 101):
            matrix = generator.normal(size=(rows, 5)).astype(np.float32)
            matrix[generator.random(matrix.shape) < 0.3] = np.nan
            matrix[:, 2] = np.nan
            imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(matrix)
            medians = column_medians(matrix)
            assert (medians == imputer.statistics_).all()
            assert (filled(matrix.copy(), medians) == imputer.transform(matrix)).all()


class TestRandomForestWithOptions(TestRandomForest):
    section: ClassVar[dict[str, Any]] = {
        "trees": 40,
        "maximum_depth": 5,
        "minimum_leaf": 10,
        "criterion": "entropy",
        "minimum_gain": 0.001,
        "maximum_features": 0.8,
        "class_weights": "balanced",
    }


class TestLstm(ForecasterContract):
    name = "lstm"
    section: ClassVar[dict[str, Any]] = NETWORK


class TestGru(ForecasterContract):
    name = "gru"
    section: ClassVar[dict[str, Any]] = {**NETWORK, "layers": 2}


class TestTransformer(ForecasterContract):
    name = "transformer"
    section: ClassVar[dict[str, Any]] = {**NETWORK, "layers": 2, "heads": 2, "learning_rate": 0.005}


def test_class_weights_do_not_move_how_often_a_class_is_said_to_come() -> None:
    """Rows that say nothing: whatever the weights, the answer stays near what it is without."""
    data = for_model(made_rows(strength=0.0), 1)
    factors = class_factors({"short": 1.0, "flat": 5.0, "long": 2.0}, data.labels, data.weights)
    assert factors is not None
    assert (factors[data.labels] * data.weights).sum() == pytest.approx(data.weights.sum())
    trees = {"trees": 40, "maximum_depth": 3, "minimum_leaf": 40}
    for name, section in (
        ("xgboost", TREES),
        ("xgboost", {**TREES, "monotone": {"slow": 1}}),
        ("random_forest", trees),
    ):
        plain = fitted_mean(name, section, None)
        for weights in ("balanced", {"short": 1.0, "flat": 5.0, "long": 2.0}):
            assert fitted_mean(name, section, weights) == pytest.approx(plain, abs=0.03), (name, weights)


def fitted_mean(name: str, section: dict[str, Any], weights: Any) -> np.ndarray:
    """Return how often a model of rows that say nothing says each class comes, float64 [3]."""
    data = for_model(made_rows(strength=0.0), 1)
    model = create(name, parse(content_of(name, {**section, "class_weights": weights})))
    model.fit(data)
    return model.predict_proba(data.windows).mean(axis=0)
