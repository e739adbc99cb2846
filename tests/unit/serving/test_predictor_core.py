"""One champion per strategy, swapped at once; what does not fit is refused."""

import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from serving_packages import put_in_store, request_for, verified, write_package

from core.domain import AnsweredBy
from core.errors import IntegrityError, RefusedError
from serving.loader import ChampionLoader
from serving.local import LocalPredictor
from serving.predictor import NoModelError, PredictorCore
from serving.store import ModelStore


def test_predictions_are_the_models_answers_and_say_who_gave_them(tmp_path: Path) -> None:
    package = verified(tmp_path / "package")
    core = PredictorCore()
    core.install(package, version="4", revision=9)
    request = request_for(package)
    predictions = core.predict(request).predictions(request, AnsweredBy.LOCAL)
    expected = package.session.run(request.features)
    for index, prediction in enumerate(predictions):
        answer = (prediction.probability_short, prediction.probability_flat, prediction.probability_long)
        assert np.array_equal(np.array(answer, np.float32), expected[index])
        assert prediction.decision_id == request.decision_ids[index]
        assert prediction.instrument == request.instruments[index]
        assert prediction.model_version == "4"
        assert prediction.model_digest == package.model_digest
        assert prediction.policy_revision == 9
        assert prediction.answered_by is AnsweredBy.LOCAL


def test_requests_for_other_features_are_refused_with_both_sides(tmp_path: Path) -> None:
    package = verified(tmp_path / "package")
    core = PredictorCore()
    core.install(package, version="4", revision=1)
    request = request_for(package)
    with pytest.raises(RefusedError, match=r"a{64}.*f{64}"):
        core.predict(msgspec.structs.replace(request, feature_digest="a" * 64))
    for shape in ((3, 1, 3), (3, 2, 4), (2, 2, 3), (3, 6)):
        with pytest.raises(RefusedError, match="needs float32"):
            core.predict(msgspec.structs.replace(request, features=np.zeros(shape, np.float32)))
    with pytest.raises(RefusedError, match="float64"):
        core.predict(msgspec.structs.replace(request, features=request.features.astype(np.float64)))
    with pytest.raises(NoModelError, match="served: tidegate-test"):
        core.predict(msgspec.structs.replace(request, strategy="other"))


def test_an_answer_that_is_no_number_is_refused(tmp_path: Path) -> None:
    package = verified(tmp_path / "package")
    core = PredictorCore()
    core.install(package, version="4", revision=1)
    features = np.zeros((2, 2, 3), np.float32)
    features[1, 0, 0], features[1, 0, 1] = np.inf, -np.inf
    with pytest.raises(RefusedError, match="I00001"):
        core.predict(request_for(package, 2, features))


def test_two_strategies_do_not_disturb_each_other_and_the_previous_version_stays_loaded(tmp_path: Path) -> None:
    first, second = verified(tmp_path / "a"), verified(tmp_path / "b", bias=1.0)
    other = verified(tmp_path / "c", strategy="other")
    core = PredictorCore()
    for package, version in ((first, "1"), (other, "1"), (second, "2")):
        core.install(package, version=version, revision=int(version))
    assert core.policy("tidegate-test").champion.package is second
    assert core.policy("other").champion.package is other
    assert core.loaded(first.evidence_digest) is first
    third = verified(tmp_path / "d", bias=2.0)
    core.install(third, version="3", revision=3)
    assert core.loaded(first.evidence_digest) is None
    assert core.loaded(second.evidence_digest) is second


def test_swapping_under_load_never_mixes_versions(tmp_path: Path) -> None:
    packages = {"1": verified(tmp_path / "a"), "2": verified(tmp_path / "b", bias=1.0)}
    request = request_for(packages["1"])
    expected = {version: package.session.run(request.features) for version, package in packages.items()}
    core = PredictorCore()
    core.install(packages["1"], version="1", revision=1)
    stop = threading.Event()

    def swap() -> None:
        revision = 1
        while not stop.is_set():
            revision += 1
            version = str(1 + revision % 2)
            core.install(packages[version], version=version, revision=revision)

    thread = threading.Thread(target=swap)
    thread.start()
    seen: set[str] = set()
    try:
        for _ in range(3000):
            answer = core.predict(request)
            seen.add(answer.header.model_version)
            assert np.array_equal(answer.probabilities, expected[answer.header.model_version])
    finally:
        stop.set()
        thread.join()
    assert seen == {"1", "2"}


def test_health_is_a_real_prediction(tmp_path: Path) -> None:
    core = PredictorCore()
    with pytest.raises(IntegrityError, match="no verified model"):
        core.check_health()
    package = verified(tmp_path / "package")
    core.install(package, version="1", revision=1)
    core.check_health()
    package.session.warmup_outputs[0, 0] += 0.01
    with pytest.raises(IntegrityError, match="warm-up row 0"):
        core.check_health()


async def test_local_predictor_follows_the_pointer_and_keeps_the_champion_when_the_next_is_bad(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    first, second = verified(tmp_path / "a"), verified(tmp_path / "b", bias=1.0)
    put_in_store(store, first, "1")
    changed = threading.Event()
    core = PredictorCore()
    loader = ChampionLoader(store, core, 0.01, on_change=lambda _: changed.set())
    loader.refresh()
    put_in_store(store, second, "2", 2)
    folder = store.package_folder("tidegate-test", second.evidence_digest)
    (folder / "model.onnx").write_bytes(b"damaged")
    loader.refresh()
    assert core.policy("tidegate-test").champion.version == "1"
    assert "model.onnx" in loader.failures["tidegate-test"]
    loader.refresh()
    assert loader.failure_count == 1
    store.add(second)  # the publisher repairs a damaged copy
    loader.refresh()
    assert core.policy("tidegate-test").champion.version == "2"
    assert loader.failures == {}
    assert changed.is_set()
    with LocalPredictor(tmp_path / "serving") as local:
        predictions = await local.predict(request_for(second))
        pointer = local.pointer("tidegate-test")
    assert {p.answered_by for p in predictions} == {AnsweredBy.LOCAL}
    assert pointer is not None
    assert pointer.approval.scope == "paper"


async def test_without_a_verified_model_the_local_predictor_refuses(tmp_path: Path) -> None:
    package = verified(tmp_path / "package")
    with LocalPredictor(tmp_path / "nothing-here") as local:
        with pytest.raises(RefusedError, match="no verified model"):
            await local.predict(request_for(package))
    write_package(tmp_path / "package")
