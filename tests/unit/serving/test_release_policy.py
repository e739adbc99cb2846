"""The section ``release``: what cannot be is refused by name; what is written is what the code takes for granted."""

from pathlib import Path
from typing import Any

import pytest
from release_room import NAME, QUICK, START_NS

from core.errors import BadInputError
from core.params import read_params
from serving.release.policy import ReleasePolicy
from serving.release.release_registry import aliases_of, timeline
from serving.release.states import EDGES, Cause, Release, ReleaseState, TransitionRecord

REPOSITORY = Path(__file__).resolve().parents[3]
STEP = {"share": 0.1, "minimum_decisions": 10, "minimum_blocks": 1, "maximum_days": 5.0}


def test_the_repositorys_parameters_are_the_defaults() -> None:
    params = read_params(REPOSITORY / "params.yaml")
    assert ReleasePolicy.read({"release": params["release"]}) == ReleasePolicy.read({}) == ReleasePolicy()
    assert ReleasePolicy.read(params).online == params["online"]
    assert ReleasePolicy.of(QUICK.document()) == QUICK
    assert ReleasePolicy.of({}) == ReleasePolicy()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"canary": [STEP | {"share": 1.2}]}, "canary step 1: a share of 1.2 is not between 0 and 1"),
        ({"canary": [STEP, STEP]}, "canary step 2: the share must be larger than the one before"),
        ({"canary": [STEP | {"tests": ["luck"]}]}, "Invalid enum value 'luck'"),
        ({"canary": [STEP | {"minimum_decisions": 0}]}, "canary step 1 needs a minimum of at least 1 decision"),
        ({"shadow": {"maximum_days": 0}}, "shadow: maximum_days must be above 0"),
        ({"shadow": {"minimum_blocks": -1}}, "shadow: minimum_blocks must not be negative"),
        ({"shadow": {"decisions": 5}}, "unknown field `decisions`"),
        ({"alpha": {"harm": 1.0}}, "alpha.harm must be between 0 and 1"),
        ({"hand_over": {"hours": -1}}, "hand_over.hours must not be negative"),
        ({"hand_over": {"weighting": "performance"}}, "hand_over.weighting is fixed or confidence"),
        ({"first": "never"}, "Invalid enum value 'never'"),
        ({"review_days": 0}, "review_days must be above 0"),
        ({"block_seconds": 0}, "block_seconds must be at least 1"),
        ({"steps": []}, "there is no steps"),
    ],
)
def test_what_cannot_be_is_named(section: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match="release parameters: ") as caught:
        ReleasePolicy.read({"release": section})
    assert words in caught.value.message and "\n" not in caught.value.message


def test_the_guide_lists_every_way_with_who_may_take_it() -> None:
    text = (REPOSITORY / "docs" / "guide" / "release.md").read_text()
    for edge in EDGES:
        causes = ", ".join(sorted(edge.causes))
        assert f"| {edge.before or '–'} | {edge.after} | {causes} | {edge.words} |" in text


def test_aliases_follow_the_state() -> None:
    def release(state: ReleaseState) -> Release:
        return Release(
            release_id="r", strategy=NAME, version="2", model_digest="2", evidence_digest="e", state=state,
            opened_ns=0, entered_ns=0, policy={}, number=1, sequence=1,
        )  # fmt: skip

    assert aliases_of("1", None) == aliases_of("1", release(ReleaseState.APPROVED)) == {"champion": "1"}
    assert aliases_of("1", release(ReleaseState.SHADOW)) == {"champion": "1", "shadow": "2"}
    assert aliases_of("1", release(ReleaseState.CANARY)) == {"champion": "1", "challenger": "2"}
    assert aliases_of("", None) == {}


def test_a_timeline_that_is_too_long_keeps_its_end() -> None:
    def record(number: int) -> TransitionRecord:
        return TransitionRecord(
            sequence=number, release_id="r", number=number, strategy=NAME, version="2", model_digest="2",
            evidence_digest="e", before="canary" if number else "", after=ReleaseState.CANARY, step=number,
            cause=Cause.RULES, reason=f"reason {number} " + "x" * 80, figures={}, approval=1, against="",
            market_ns=0, actor="tidegate", time_ns=START_NS, previous_hash="",
        )  # fmt: skip

    text = timeline([record(number) for number in range(100)])
    assert len(text) <= 4000
    assert "canary → canary step 100  by tidegate: reason 99" in text and "reason 1 " not in text
    assert timeline([record(0)]).startswith("2023-11-14T22:13:20Z  new → canary step 1  by tidegate: reason 0")
