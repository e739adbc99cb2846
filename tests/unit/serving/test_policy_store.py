"""Policies in the store: replaced whole, in order, never with parts that do not fit; every one is kept."""

import json
import threading
from pathlib import Path

import msgspec
import pytest
from serving_packages import approval_of, put_in_store, verified

from core.errors import IntegrityError, RefusedError
from serving.release.approval import Decision
from serving.release.evidence import VerifiedPackage
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Arm, Blend, Mode, Traffic

NAME = "tidegate-test"
CANARY = Traffic(mode=Mode.CANARY, share=0.25, salt="release 7")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[ModelStore, VerifiedPackage, VerifiedPackage]:
    store = ModelStore(tmp_path / "serving")
    first, second = verified(tmp_path / "a"), verified(tmp_path / "b", bias=1.0)
    put_in_store(store, first, "1")
    store.add(second)
    return store, first, second


def test_every_revision_is_kept_and_going_back_is_a_new_one(
    pair: tuple[ModelStore, VerifiedPackage, VerifiedPackage],
) -> None:
    store, first, second = pair
    champion, challenger = approval_of(first, "1"), approval_of(second, "2", 2)
    canary = store.set_policy(NAME, champion=champion, challenger=challenger, traffic=CANARY, expected_revision=1)
    again = store.set_policy(NAME, champion=champion, challenger=challenger, traffic=CANARY, expected_revision=1)
    assert again == canary == store.pointer(NAME)  # a killed caller may ask again with what it knew
    flat = store.set_policy(NAME, champion=None, flat="rolled back: realised loss")
    back = store.move(champion)
    assert [policy.revision for policy in store.policies(NAME)] == [4, 3, 2, 1]
    assert store.policy_at(NAME, 2) == canary
    assert store.policy_at(NAME, 3) == flat
    assert back == msgspec.structs.replace(store.policy_at(NAME, 1) or back, revision=4)
    assert store.policy_at(NAME, 5) is None and store.policy_at(NAME, 0) is None
    assert canary.standing(Arm.BLEND) == canary.standings and flat.standings == ()
    assert store.load(canary, Arm.CHALLENGER).model_digest == second.model_digest
    assert canary.model_name == "linear"


def test_parts_that_do_not_fit_are_refused_and_nothing_changes(
    tmp_path: Path, pair: tuple[ModelStore, VerifiedPackage, VerifiedPackage]
) -> None:
    store, first, second = pair
    champion, challenger = approval_of(first, "1"), approval_of(second, "2", 2)
    absent = approval_of(verified(tmp_path / "c", bias=2.0), "3", 3)
    strange = verified(tmp_path / "d", bias=3.0, feature_digest="0" * 64)
    store.add(strange)
    rejected = msgspec.structs.replace(challenger, decision=Decision.REJECTED)
    rejected = msgspec.structs.replace(rejected, hash=rejected.computed_hash())
    edited = msgspec.structs.replace(challenger, by="somebody else")
    twin = msgspec.structs.replace(champion, version="9")
    twin = msgspec.structs.replace(twin, hash=twin.computed_hash())
    blend = Traffic(mode=Mode.BLEND, blend=Blend())
    cases: list[tuple[str, dict[str, object]]] = [
        ("must say why", {"champion": None}),
        ("needs a champion", {"champion": None, "challenger": challenger, "traffic": CANARY, "flat": "x"}),
        ("needs a challenger", {"champion": champion, "traffic": blend}),
        ("is not in the store", {"champion": champion, "challenger": absent, "traffic": CANARY}),
        (
            "cannot be asked with one",
            {"champion": champion, "challenger": approval_of(strange, "4"), "traffic": CANARY},
        ),
        ("rejected", {"champion": champion, "challenger": rejected, "traffic": CANARY}),
        ("was edited", {"champion": champion, "challenger": edited, "traffic": CANARY}),
        ("the same model", {"champion": champion, "challenger": twin, "traffic": CANARY}),
        ("at revision 1", {"champion": champion, "flat": "x", "expected_revision": 7}),
    ]
    before = store.pointer(NAME)
    for words, arguments in cases:
        with pytest.raises(RefusedError, match=words):
            store.set_policy(NAME, **arguments)  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="not in the store"):
        store.set_policy("another", champion=champion)
    assert store.pointer(NAME) == before
    assert [path.name for path in (store.root / NAME / "policies").iterdir()] == ["1.json"]


def test_files_from_before_there_were_policies_are_read_and_begin_the_history(
    pair: tuple[ModelStore, VerifiedPackage, VerifiedPackage],
) -> None:
    store, first, second = pair
    path = store.root / NAME / "pointer.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key != "model_name"}
    old["revision"] = 12
    path.write_text(json.dumps(old))
    (store.root / NAME / "policies" / "1.json").unlink()
    present = store.pointer(NAME)
    assert present is not None and present.traffic == Traffic() and present.challenger is None
    assert store.policy_at(NAME, 12) == present and store.policy_at(NAME, 11) is None
    moved = store.move(approval_of(second, "2", 2))
    assert moved.revision == 13
    assert store.policy_at(NAME, 12) == present
    assert [policy.revision for policy in store.policies(NAME)] == [13, 12]
    assert first.model_digest == present.model_digest


@pytest.mark.parametrize(
    "change",
    [
        {"challenger": {"version": "77"}},
        {"challenger": {"model_digest": "0" * 64}},
        {"challenger": {"approval": {"scope": "live"}}},
        {"traffic": {"share": 2.0}},
        {"traffic": {"mode": "shadow"}},
        {"traffic": {"surplus": 1}},
        {"approval": None},
        {"challenger": None},
    ],
)
def test_an_edited_policy_is_refused(
    pair: tuple[ModelStore, VerifiedPackage, VerifiedPackage], change: dict[str, object]
) -> None:
    def merged(value: dict[str, object], more: dict[str, object]) -> dict[str, object]:
        return value | {
            key: merged(value[key], part) if isinstance(part, dict) else part  # type: ignore[arg-type]
            for key, part in more.items()
        }

    store, first, second = pair
    store.set_policy(NAME, champion=approval_of(first, "1"), challenger=approval_of(second, "2", 2), traffic=CANARY)
    for path in (store.root / NAME / "pointer.json", store.root / NAME / "policies" / "2.json"):
        path.write_text(json.dumps(merged(json.loads(path.read_text()), change)))
    with pytest.raises(IntegrityError):
        store.pointer(NAME)
    repaired = store.move(approval_of(first, "1"))  # what is damaged is replaced, under a number of its own
    assert repaired.revision == 3
    assert store.pointer(NAME) == repaired


def test_writers_that_meet_do_not_lose_a_revision(pair: tuple[ModelStore, VerifiedPackage, VerifiedPackage]) -> None:
    store, first, second = pair
    champion, challenger = approval_of(first, "1"), approval_of(second, "2", 2)
    won: list[Pointer] = []
    lost: list[str] = []

    def write(share: float) -> None:
        traffic = msgspec.structs.replace(CANARY, share=share)
        try:
            won.append(
                ModelStore(store.root).set_policy(
                    NAME, champion=champion, challenger=challenger, traffic=traffic, expected_revision=1
                )
            )
        except RefusedError as error:
            lost.append(error.message)

    threads = [threading.Thread(target=write, args=(share,)) for share in (0.1, 0.2, 0.3, 0.4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 3
    assert store.pointer(NAME) == won[0] and won[0].revision == 2


def test_a_writer_killed_before_its_policy_was_in_force_leaves_nothing_behind(
    pair: tuple[ModelStore, VerifiedPackage, VerifiedPackage],
) -> None:
    store, first, second = pair
    champion, challenger = approval_of(first, "1"), approval_of(second, "2", 2)
    history = store.root / NAME / "policies"
    store.set_policy(NAME, champion=champion, challenger=challenger, traffic=CANARY)
    never = (history / "2.json").read_bytes()
    (store.root / NAME / "pointer.json").write_bytes((history / "1.json").read_bytes())  # as if killed in between
    assert store.policy_at(NAME, 2) is None
    assert [policy.revision for policy in store.policies(NAME)] == [1]
    flat = store.set_policy(NAME, champion=champion, flat="drift", expected_revision=1)
    assert (flat.revision, store.policy_at(NAME, 2)) == (2, flat)
    assert (history / "2.json").read_bytes() != never
