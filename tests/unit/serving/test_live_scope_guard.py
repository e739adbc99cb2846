"""A version approved for paper never reaches a live account, even when it is published while the session runs."""

import time
from pathlib import Path

import pytest
from serving_packages import put_in_store, request_for, verified

from core.errors import RefusedError
from serving.local import LocalPredictor
from serving.release.approval import Scope
from serving.scope import LiveScopeGuard
from serving.store import ModelStore


def _await_version(local: LocalPredictor, version: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pointer = local.pointer("tidegate-test")
        if pointer is not None and pointer.version == version:
            return
        time.sleep(0.01)


async def test_live_answers_pass_until_a_paper_version_is_published(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    first, second = verified(tmp_path / "one"), verified(tmp_path / "two", bias=0.3)
    put_in_store(store, first, "1", scope=Scope.LIVE)
    with LocalPredictor(store.root, 0.02) as local:
        guard = LiveScopeGuard(local, local)
        assert len(await guard.predict(request_for(first))) == 3
        put_in_store(store, second, "2", sequence=2, scope=Scope.PAPER)
        _await_version(local, "2")
        with pytest.raises(RefusedError, match="the champion, is approved for paper, not for a live account"):
            await guard.predict(request_for(second))


async def test_an_answer_of_another_model_does_not_count(tmp_path: Path) -> None:
    here, elsewhere = ModelStore(tmp_path / "here"), ModelStore(tmp_path / "elsewhere")
    approved, other = verified(tmp_path / "one"), verified(tmp_path / "two", bias=0.3)
    put_in_store(here, approved, "1", scope=Scope.LIVE)
    put_in_store(elsewhere, other, "2", scope=Scope.LIVE)
    with LocalPredictor(here.root, 10.0) as local, LocalPredictor(elsewhere.root, 10.0) as stranger:
        with pytest.raises(RefusedError, match="the version approved for live trading"):
            await LiveScopeGuard(stranger, local).predict(request_for(other))
