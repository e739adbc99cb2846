"""What every forecaster keeps to, as a class of tests that each model inherits."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from core.digest import digest_bytes, digest_file
from core.errors import BadInputError
from training.dataset import TrainingData
from training.models import create, graph
from training.models.interface import Forecaster
from training.parameters import parse
from training.windows import Windows, instrument_order

FEATURES = ("signal", "slow", "noise", "empty")
INSTRUMENTS, STEPS = 3, 260


def made_rows(seed: int = 3, strength: float = 1.2) -> TrainingData:
    """Return rows whose class follows the last ``signal``; a tenth of the values is missing, one feature always."""
    generator = np.random.default_rng(seed)
    count = INSTRUMENTS * STEPS
    instrument = np.tile(np.arange(INSTRUMENTS), STEPS)
    time_ns = np.repeat(np.arange(STEPS, dtype=np.int64), INSTRUMENTS) * 10
    features = generator.normal(size=(count, len(FEATURES))).astype(np.float32)
    score = strength * features[:, 0] + generator.normal(size=count)
    labels = np.searchsorted(np.quantile(score, (0.4, 0.6)), score).astype(np.int8)
    features[generator.random(features.shape) < 0.1] = np.nan
    features[:, 3] = np.nan
    lookback = 4
    windows = Windows(features, np.arange(count), lookback, *instrument_order(instrument, time_ns))
    return TrainingData(windows, labels, generator.uniform(0.5, 1.0, count), time_ns, time_ns + 10, FEATURES)


def for_model(data: TrainingData, lookback: int) -> TrainingData:
    """Return the rows as a model with this look-back takes them."""
    windows = data.windows
    assert isinstance(windows, Windows)
    known = Windows(windows.features, windows.rows, lookback, windows.order, windows.place, windows.depth)
    return TrainingData(known, data.labels, data.weights, data.time_ns, data.label_end_ns, data.feature_names)


def log_loss(said: NDArray[np.float64], labels: NDArray[np.int8]) -> float:
    return float(-np.log(said[np.arange(len(labels)), labels]).mean())


def content_of(name: str, section: dict[str, Any]) -> dict[str, Any]:
    """Return a ``params.yaml`` mapping that trains one model."""
    return {
        "market": "made",
        "seed": 5,
        "data": {"instruments": ["EUR_USD"], "holdout": {"count": 1}},
        "features": {"set": "fixings"},
        "costs": {},
        "labels": {"horizon": 1},
        "validation": {"train_steps": 10},
        "models": {"components": [name], name: section},
    }


class ForecasterContract:
    """Inherit, and name the model and its section of the parameters."""

    name: ClassVar[str]
    section: ClassVar[dict[str, Any]]
    refits: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def content(cls) -> dict[str, Any]:
        return content_of(cls.name, cls.section)

    @classmethod
    def unfitted(cls, content: dict[str, Any]) -> Forecaster:
        return create(cls.name, parse(content))

    @classmethod
    def fitted_on(cls, content: dict[str, Any], data: TrainingData) -> Forecaster:
        model = cls.unfitted(content)
        model.fit(for_model(data, model.lookback))
        return model

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, content: dict[str, Any]) -> Forecaster:
        return cls.fitted_on(content, made_rows())

    def test_it_learns_what_can_be_learnt(self, fitted: Forecaster) -> None:
        other = for_model(made_rows(seed=8), fitted.lookback)
        said = fitted.predict_proba(other.windows)
        assert said.shape == (len(other.labels), 3)
        assert np.isfinite(said).all() and (said >= 0.0).all()
        assert said.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
        frequencies = np.bincount(other.labels) / len(other.labels)
        assert log_loss(said, other.labels) < log_loss(np.tile(frequencies, (len(said), 1)), other.labels) - 0.05
        assert fitted.fitted() and all(np.isfinite(value) for value in fitted.fitted().values())

    def test_the_graph_answers_as_the_model_does(self, fitted: Forecaster) -> None:
        windows = for_model(made_rows(seed=9), fitted.lookback).windows[:257].copy()
        windows[0] = np.nan
        windows[1] = 1e9  # a feature far outside of anything seen
        content = graph.to_bytes(fitted.graph())
        assert graph.check_parity(content, windows, fitted.predict_proba(windows)) < 1e-5
        assert graph.check_parity(content, windows[:1], fitted.predict_proba(windows[:1])) < 1e-5

    def test_two_fits_give_the_same_bytes(self, fitted: Forecaster, content: dict[str, Any], tmp_path: Path) -> None:
        again = self.fitted_on(content, made_rows())
        digests: list[tuple[str, list[str]]] = []
        for number, model in enumerate((fitted, again)):
            folder = tmp_path / str(number)
            folder.mkdir()
            model.save_native(folder)
            native = [digest_file(path) for path in sorted(folder.iterdir())]
            digests.append((digest_bytes(graph.to_bytes(model.graph())), native))
        assert digests[0] == digests[1]
        different = self.unfitted({**content, "seed": 6})
        different.fit(for_model(made_rows(), different.lookback))
        assert digest_bytes(graph.to_bytes(different.graph())) != digests[0][0]

    def test_gathered_windows_and_an_array_are_the_same(self, fitted: Forecaster, content: dict[str, Any]) -> None:
        data = for_model(made_rows(), fitted.lookback)
        array = data.windows[:]
        assert (fitted.predict_proba(array) == fitted.predict_proba(data.windows)).all()
        model = self.unfitted(content)
        model.fit(TrainingData(array, data.labels, data.weights, data.time_ns, data.label_end_ns, FEATURES))
        assert (model.predict_proba(array) == fitted.predict_proba(array)).all()

    def test_the_native_model_comes_back_whole(
        self, fitted: Forecaster, content: dict[str, Any], tmp_path: Path
    ) -> None:
        fitted.save_native(tmp_path)
        back = self.unfitted(content)
        back.load_native(tmp_path)
        windows = for_model(made_rows(seed=10), fitted.lookback).windows
        assert (back.predict_proba(windows) == fitted.predict_proba(windows)).all()
        assert digest_bytes(graph.to_bytes(back.graph())) == digest_bytes(graph.to_bytes(fitted.graph()))
        with pytest.raises(BadInputError, match="is missing"):
            self.unfitted(content).load_native(tmp_path / "elsewhere")

    def test_a_refit_goes_on_from_what_is_fitted(self, content: dict[str, Any], tmp_path: Path) -> None:
        model = self.fitted_on(content, made_rows())
        newer = for_model(made_rows(seed=12, strength=-1.2), model.lookback)
        same, turned = made_rows(seed=13), made_rows(seed=13, strength=-1.2)
        windows = for_model(same, model.lookback).windows
        before = model.predict_proba(windows)
        model.refit(newer)
        after = model.predict_proba(windows)
        # The market turned: what is learnt since shows, and is not the whole of what a fit from nothing learns.
        assert log_loss(after, turned.labels) < log_loss(before, turned.labels)
        assert graph.check_parity(graph.to_bytes(model.graph()), windows[:100], after[:100]) < 1e-5
        model.save_native(tmp_path)
        back = self.unfitted(content)
        back.load_native(tmp_path)
        assert (back.predict_proba(windows) == after).all()

    def test_rows_it_cannot_be_fitted_on_are_refused(self, content: dict[str, Any]) -> None:
        model = self.unfitted(content)
        data = for_model(made_rows(), model.lookback)
        first = np.arange(INSTRUMENTS)  # one decision time
        windows = data.windows
        assert isinstance(windows, Windows)
        few = TrainingData(
            windows[first],
            data.labels[first],
            data.weights[first],
            data.time_ns[first],
            data.label_end_ns[first],
            data.feature_names,
        )
        with pytest.raises(BadInputError, match="too few"):
            model.fit(few)
