"""The store holds whole packages and a pointer that cannot be moved without its approval."""

import json
from pathlib import Path

import msgspec
import pytest
from serving_packages import approval_of, put_in_store, verified

from core.errors import BadInputError, IntegrityError, RefusedError
from serving.release.approval import Decision
from serving.store import ModelStore


def test_pointer_moves_with_revisions_and_is_idempotent(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    assert store.strategies() == []
    assert store.pointer("tidegate-test") is None
    first, second = verified(tmp_path / "a"), verified(tmp_path / "b", bias=1.0)
    assert put_in_store(store, first, "1").revision == 1
    assert put_in_store(store, first, "1").revision == 1
    moved = put_in_store(store, second, "2", 2)
    assert moved.revision == 2
    assert store.strategies() == ["tidegate-test"]
    assert store.pointer("tidegate-test") == moved
    assert store.load(moved).model_digest == second.model_digest
    assert not list((tmp_path / "serving").rglob(".partial-*"))


@pytest.mark.parametrize(
    "change",
    [
        {"model_digest": "0" * 64},
        {"evidence_digest": "0" * 64},
        {"version": "77"},
        {"strategy": "other"},
        {"approval": None},
        {"unknown": 1},
    ],
)
def test_an_edited_pointer_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    store = ModelStore(tmp_path / "serving")
    put_in_store(store, verified(tmp_path / "a"), "1")
    path = tmp_path / "serving" / "tidegate-test" / "pointer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IntegrityError):
        store.pointer("tidegate-test")


def test_an_edited_or_rejecting_approval_inside_the_pointer_is_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    package = verified(tmp_path / "a")
    pointer = put_in_store(store, package, "1")
    path = tmp_path / "serving" / "tidegate-test" / "pointer.json"
    for change in ({"scope": "live"}, {"decision": "rejected"}, {"by": "somebody else"}):
        content = json.loads(path.read_text())
        content["approval"] |= change
        path.write_text(json.dumps(content))
        with pytest.raises(IntegrityError):
            store.pointer("tidegate-test")
        path.write_bytes(msgspec.json.encode(pointer))
    rejected = msgspec.structs.replace(approval_of(package, "2"), decision=Decision.REJECTED)
    with pytest.raises(RefusedError, match="rejected"):
        store.move(msgspec.structs.replace(rejected, hash=rejected.computed_hash()))


def test_a_package_that_is_not_the_approved_one_is_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    first, second = verified(tmp_path / "a"), verified(tmp_path / "b", bias=1.0)
    pointer = put_in_store(store, first, "1")
    folder = store.package_folder("tidegate-test", first.evidence_digest)
    for file in second.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(IntegrityError, match="the pointer names"):
        store.load(pointer)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a\0b", "x" * 200])
def test_a_strategy_name_cannot_leave_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="letters, digits"):
        ModelStore(tmp_path).pointer(name)
