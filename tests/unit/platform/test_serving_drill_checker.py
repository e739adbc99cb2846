"""The judge of the serving drill passes what each policy really answers and finds every planted fault."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from serving_packages import approval_of, verified

from core.domain import AnsweredBy
from serving.loader import ChampionLoader
from serving.predictor import PredictorCore
from serving.store import ModelStore
from serving.traffic.policy import Blend, Mode, Traffic
from tidegate.drill.serving import ServingOrder, ServingResult
from tidegate.drill.serving_checker import Change, Checker
from tidegate.drill.serving_load import Asked, Windows
from tidegate.drill.serving_report import serving_figures, serving_table

STRATEGY = "tidegate-test"
ROWS = 24
POLICIES = [
    None,
    Traffic(mode=Mode.SHADOW),
    Traffic(mode=Mode.CANARY, share=0.5, salt="drill"),
    Traffic(mode=Mode.BLEND, blend=Blend(weight=0.4)),
]
SHADOW, CANARY, BLEND = 1, 2, 3


class Bench:
    """Four policies in force one second each, and one real answer of each."""

    def __init__(self, folder: Path) -> None:
        packages = [verified(folder / str(bias), bias=float(bias)) for bias in (0, 1)]
        store = ModelStore(folder / "serving")
        approvals = [approval_of(package, str(number), number) for number, package in enumerate(packages, start=1)]
        for package in packages:
            store.add(package)
        features = np.random.default_rng(5).normal(size=(64, 2, 3)).astype(np.float32)
        expected = {str(number): package.session.run(features) for number, package in enumerate(packages, start=1)}
        windows = Windows(STRATEGY, packages[0].manifest.feature_digest, features, expected)
        core = PredictorCore()
        loader = ChampionLoader(store, core, 1.0)
        changes: list[Change] = []
        self.asked: list[Asked] = []
        for second, traffic in enumerate(POLICIES):
            policy = store.set_policy(
                STRATEGY,
                champion=approvals[0],
                challenger=approvals[1] if traffic else None,
                traffic=traffic or Traffic(),
            )
            changes.append(Change(policy, float(second), second + 0.1))
            loader.refresh()
            request, window = windows.request(second + 7, ROWS)
            found = tuple(core.predict(request).predictions(request, AnsweredBy.SERVE))
            self.asked.append(Asked("policy", second + 0.4, second + 0.4, second + 0.5, window, request.time_ns, found))
        self.checker = Checker(changes, expected, 0.2)

    def problem(self, place: int, row: int = 0, **fault: object) -> str:
        """Judge an answer with one prediction of it changed."""
        asked = self.asked[place]
        predictions = list(asked.predictions)
        predictions[row] = msgspec.structs.replace(predictions[row], **fault)
        return self.checker.problem(replace(asked, predictions=tuple(predictions)))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("checker"))


def test_what_the_policies_answer_is_right(bench: Bench) -> None:
    assert [bench.checker.problem(asked) for asked in bench.asked] == [""] * len(POLICIES)
    arms = [{prediction.arm for prediction in asked.predictions} for asked in bench.asked]
    assert arms == [{"champion"}, {"champion"}, {"champion", "challenger"}, {"blend"}]


def test_each_planted_fault_is_found(bench: Bench) -> None:
    def row_of(arm: str) -> int:
        return next(row for row, found in enumerate(bench.asked[CANARY].predictions) if found.arm == arm)

    other = bench.asked[SHADOW].predictions[0].alternatives[0]
    assert "was never written" in bench.problem(0, policy_revision=99)
    assert "not 1" in bench.problem(0, model_version="2")
    assert "not 1" in bench.problem(0, model_digest=other.model_digest)
    assert "probabilities are not those of version 1" in bench.problem(0, probability_long=0.4)
    assert "gives the decision to champion" in bench.problem(0, arm="challenger")
    assert "gives the decision to challenger" in bench.problem(CANARY, row_of("challenger"), arm="champion")
    assert "gives the decision to champion" in bench.problem(CANARY, row_of("champion"), arm="challenger")
    assert "not those of version 1+2" in bench.problem(BLEND, probability_flat=0.5)
    assert "beside it [] were scored" in bench.problem(SHADOW, alternatives=())
    assert "scored beside it" in bench.problem(
        SHADOW, alternatives=(msgspec.structs.replace(other, probability_flat=0.9),)
    )
    assert "beside it ['1'] were scored" in bench.problem(
        SHADOW, alternatives=(msgspec.structs.replace(other, model_version="1"),)
    )


def test_an_answer_of_a_policy_that_did_not_stand_is_found(bench: Bench) -> None:
    old, new = bench.asked[0], bench.asked[1]

    def at(asked: Asked, sent: float) -> Asked:
        return replace(asked, sent=sent, ended=sent + 0.05)

    assert bench.checker.problem(at(old, 1.25)) == ""  # 0.15 s after the change, within the grace
    assert bench.checker.stale_seconds(at(old, 1.25)) == pytest.approx(0.15)
    assert "after it was replaced" in bench.checker.problem(at(old, 1.4))
    assert "before it was written" in bench.checker.problem(at(new, 0.5))
    assert bench.checker.stale_seconds(new) is None


def result(asked: list[Asked], decided: list[Asked], wrong: list[str]) -> ServingResult:
    return ServingResult(
        order=ServingOrder(),
        asked=asked,
        decided=decided,
        wrong=wrong,
        stale_seconds=[0.05],
        changes=3,
        restart_seconds=None,
        replica_seconds=4.0,
        seconds=1.0,
    )


def test_figures_say_which_promise_does_not_hold(bench: Bench) -> None:
    good = bench.asked
    lost = replace(good[0], predictions=(), failure="no answer in 5 s")
    killed = replace(lost, phase="replica killed")
    found = serving_figures(result([*good, killed], good, []))
    assert found["passed"] and found["phases"]["replica killed"]["failed"] == 1
    assert "Serving drill at 500/s: passed" in serving_table(found)
    for broken in (result([*good, lost], good, []), result(good, [*good, lost], []), result(good, good, ["wrong"])):
        found = serving_figures(broken)
        assert not found["passed"] and list(found["promises"].values()).count(False) == 1
        assert "FAILED" in serving_table(found) and "BROKEN" in serving_table(found)
    assert not serving_figures(result([], [], []))["passed"]  # a drill that asked nothing proves nothing
