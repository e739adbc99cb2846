"""What each traffic policy answers, and that a challenger in trouble never costs a decision."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from serving_packages import request_for, verified

from core.domain import AnsweredBy, Prediction, PredictionRequest
from core.errors import RefusedError
from serving.predictor import FlatError, PredictorCore, ServedPolicy, ServedVersion
from serving.release.evidence import VerifiedPackage
from serving.traffic.assignment import assigned
from serving.traffic.blend import performance_weight, weights
from serving.traffic.pointer import blend_digest
from serving.traffic.policy import Arm, Blend, Mode, Traffic, Weighting

CANARY = Traffic(mode=Mode.CANARY, share=0.5, salt="release 7")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[VerifiedPackage, VerifiedPackage]:
    folder = tmp_path_factory.mktemp("packages")
    return verified(folder / "champion"), verified(folder / "challenger", bias=1.0)


def policy(champion: VerifiedPackage, challenger: VerifiedPackage, traffic: Traffic) -> ServedPolicy:
    return ServedPolicy(
        "tidegate-test", 3, ServedVersion(champion, "1"), ServedVersion(challenger, "2"), traffic=traffic
    )


def ask(served: ServedPolicy, request: PredictionRequest) -> list[Prediction]:
    return served.answer(request).predictions(request, AnsweredBy.LOCAL)


def row(prediction: Prediction) -> tuple[float, float, float]:
    return prediction.probability_short, prediction.probability_flat, prediction.probability_long


def test_a_shadow_is_scored_and_never_traded(packages: tuple[VerifiedPackage, VerifiedPackage]) -> None:
    champion, challenger = packages
    request = request_for(champion, 5)
    own, other = champion.session.run(request.features), challenger.session.run(request.features)
    for index, answer in enumerate(ask(policy(champion, challenger, Traffic(mode=Mode.SHADOW)), request)):
        assert (answer.arm, answer.model_version, answer.model_digest) == ("champion", "1", champion.model_digest)
        assert row(answer) == tuple(own[index].tolist())
        (beside,) = answer.alternatives
        assert (beside.arm, beside.model_version, beside.model_digest) == ("challenger", "2", challenger.model_digest)
        said = (beside.probability_short, beside.probability_flat, beside.probability_long)
        assert said == tuple(other[index].tolist())


def test_a_canary_trades_its_cells_and_scores_the_other_version(
    packages: tuple[VerifiedPackage, VerifiedPackage],
) -> None:
    champion, challenger = packages
    request = request_for(champion, 40)
    answers = ask(policy(champion, challenger, CANARY), request)
    arms = {answer.instrument: answer.arm for answer in answers}
    assert arms == {
        name: assigned(CANARY, request.strategy, name, request.time_ns).value for name in request.instruments
    }
    assert set(arms.values()) == {"champion", "challenger"}
    said = {"1": champion.session.run(request.features), "2": challenger.session.run(request.features)}
    for index, answer in enumerate(answers):
        assert row(answer) == tuple(said[answer.model_version][index].tolist())
        (beside,) = answer.alternatives
        assert {answer.arm, beside.arm} == {"champion", "challenger"}
        assert {answer.model_version, beside.model_version} == {"1", "2"}
        assert answer.policy_revision == 3


def test_a_blend_hands_over_along_a_straight_line_and_names_both(
    packages: tuple[VerifiedPackage, VerifiedPackage],
) -> None:
    champion, challenger = packages
    request = request_for(champion, 4)
    own, other = champion.session.run(request.features), challenger.session.run(request.features)
    blend = Blend(first=0.0, weight=0.8, start_ns=request.time_ns, end_ns=request.time_ns + 1000)
    served = policy(champion, challenger, Traffic(mode=Mode.BLEND, blend=blend))
    for later, weight in ((-5, 0.0), (0, 0.0), (500, 0.4), (1000, 0.8), (9999, 0.8)):
        answers = ask(served, msgspec.structs.replace(request, time_ns=request.time_ns + later))
        expected = (1 - weight) * own.astype(np.float64) + weight * other.astype(np.float64)
        assert np.allclose([row(answer) for answer in answers], expected, atol=1e-6)
        for answer in answers:
            assert (answer.arm, answer.model_version) == ("blend", "1+2")
            assert answer.model_digest == blend_digest(champion.model_digest, challenger.model_digest)
            assert [beside.arm for beside in answer.alternatives] == ["champion", "challenger"]


def test_the_surer_version_weighs_more_in_a_blend_by_confidence() -> None:
    sure, unsure, none = [0.9, 0.05, 0.05], [0.4, 0.3, 0.3], [1 / 3, 1 / 3, 1 / 3]
    scored = np.array([[sure, unsure, none, [1.0, 0.0, 0.0]], [unsure, sure, none, [0.0, 0.0, 1.0]]])
    blend = Blend(weighting=Weighting.CONFIDENCE, weight=0.5)
    found = weights(scored, blend, 1)
    assert found[0] < 0.1 and found[1] > 0.9 and found[0] + found[1] == pytest.approx(1.0)
    assert found[2:].tolist() == pytest.approx([0.5, 0.5])  # neither says anything; both are as sure
    for weight in (0.0, 1.0):  # the ends of a hand-over are one version alone
        ends = weights(scored[:, :2], Blend(weighting=Weighting.CONFIDENCE, weight=weight), 1)
        assert ends.tolist() == [weight, weight]


def test_weights_by_performance_follow_the_money() -> None:
    assert performance_weight([0.01], [0.01], 100.0) == 0.5
    assert performance_weight([0.0, 0.0], [0.004, 0.006], 100.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert performance_weight([0.5] * 100, [-0.5] * 100, 100.0) == 0.0
    assert performance_weight([-50.0], [50.0], 100.0) == 1.0


@pytest.mark.parametrize("fails", ["nan", "raise"])
@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.CANARY, Mode.BLEND])
@pytest.mark.parametrize("rows", [1, 6, 50])  # few rows are checked in another way than many
def test_a_challenger_that_fails_leaves_its_rows_to_the_champion(
    tmp_path: Path, packages: tuple[VerifiedPackage, VerifiedPackage], fails: str, mode: Mode, rows: int
) -> None:
    champion, broken = packages[0], verified(tmp_path / "broken", bias=1.0, fails=fails)
    traffic = Traffic(
        mode=mode, share=1.0 if mode is Mode.CANARY else 0.0, blend=Blend() if mode is Mode.BLEND else None
    )
    request = request_for(champion, rows)
    features = request.features.copy()
    features[0, 0, 0] = 11.0
    request = msgspec.structs.replace(request, features=features)
    answers = ask(policy(champion, broken, traffic), request)
    own = champion.session.run(features)
    failed = set(range(rows)) if fails == "raise" else {0}
    for index, answer in enumerate(answers):
        if index in failed:
            assert (answer.arm, answer.model_version, answer.alternatives) == ("champion", "1", ())
            assert row(answer) == tuple(own[index].tolist())
        else:
            assert answer.arm == {Mode.SHADOW: "champion", Mode.CANARY: "challenger", Mode.BLEND: "blend"}[mode]
            assert answer.alternatives


def test_a_challenger_with_a_longer_window_fails_alone_and_one_with_a_shorter_takes_the_newest_rows(
    tmp_path: Path, packages: tuple[VerifiedPackage, VerifiedPackage]
) -> None:
    champion = packages[0]
    shadow = Traffic(mode=Mode.SHADOW)
    request = request_for(champion)
    longer = verified(tmp_path / "longer", lookback=9, bias=1.0)
    assert all(not answer.alternatives for answer in ask(policy(champion, longer, shadow), request))
    shorter = verified(tmp_path / "shorter", lookback=1, bias=1.0)
    expected = shorter.session.run(np.ascontiguousarray(request.features[:, -1:]))
    for index, answer in enumerate(ask(policy(champion, shorter, shadow), request)):
        assert answer.alternatives[0].probability_long == expected[index, 2]


def test_a_flat_policy_answers_nobody_and_says_why(packages: tuple[VerifiedPackage, VerifiedPackage]) -> None:
    core = PredictorCore()
    core.install(packages[0], version="1", revision=1)
    core.change(ServedPolicy("tidegate-test", 2, None, flat="rolled back: realised loss"))
    with pytest.raises(FlatError, match="rolled back: realised loss"):
        core.predict(request_for(packages[0]))
    core.check_health()  # a decision, not a failure
    assert core.loaded(packages[0].evidence_digest) is packages[0]  # and the way back is short


def test_the_previous_champion_stays_loaded_while_other_strategies_change(
    tmp_path: Path, packages: tuple[VerifiedPackage, VerifiedPackage]
) -> None:
    core = PredictorCore()
    core.change(policy(*packages, CANARY))
    core.install(packages[1], version="2", revision=4)
    other = verified(tmp_path / "other", strategy="other")
    for revision in (1, 2):
        core.install(other, version="1", revision=revision)
    assert core.loaded(packages[0].evidence_digest) is packages[0]


@pytest.mark.parametrize(
    ("traffic", "challenger", "words"),
    [
        (Traffic(mode=Mode.CANARY, share=1.01), True, "the share is 1.01"),
        (Traffic(mode=Mode.CANARY, share=float("nan")), True, "the share is nan"),
        (Traffic(mode=Mode.AB, share=-0.1), True, "the share is -0.1"),
        (Traffic(mode=Mode.CANARY, share=0.1), False, "needs a challenger"),
        (Traffic(), True, "one is named"),
        (Traffic(mode=Mode.SHADOW, share=0.1), True, "takes no share"),
        (Traffic(mode=Mode.CANARY, share=0.1, block_seconds=0), True, "a block of 0 s"),
        (Traffic(mode=Mode.CANARY, share=0.1, salt="a\nb"), True, "one line"),
        (Traffic(mode=Mode.BLEND), True, "needs a blend"),
        (Traffic(mode=Mode.SHADOW, blend=Blend()), True, "takes no blend"),
        (Traffic(mode=Mode.BLEND, blend=Blend(weight=1.5)), True, "blend.weight is 1.5"),
        (Traffic(mode=Mode.BLEND, blend=Blend(start_ns=2, end_ns=1)), True, "ends before it starts"),
    ],
)
def test_policies_that_cannot_be_carried_out_are_refused(traffic: Traffic, challenger: bool, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        traffic.check(challenger=challenger)


def test_a_whole_share_is_everything_and_none_is_nothing() -> None:
    for share, arm in ((0.0, Arm.CHAMPION), (1.0, Arm.CHALLENGER)):
        traffic = Traffic(mode=Mode.CANARY, share=share)
        assert {assigned(traffic, "s", f"I{index}", index) for index in range(500)} == {arm}
