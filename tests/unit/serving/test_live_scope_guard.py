"""A version approved for paper never reaches a live account, even when it is published while the session runs."""

import time
from pathlib import Path

import pytest
from serving_packages import approval_of, put_in_store, request_for, verified

from core.errors import RefusedError
from serving.local import LocalPredictor
from serving.release.approval import Scope
from serving.scope import LiveScopeGuard
from serving.store import ModelStore
from serving.traffic.policy import Blend, Mode, Traffic


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


async def test_a_paper_challenger_may_be_scored_on_a_live_account_and_never_trade(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    first, second = verified(tmp_path / "one"), verified(tmp_path / "two", bias=0.3)
    for package in (first, second):
        store.add(package)
    champion = approval_of(first, "1", scope=Scope.LIVE)
    paper, live = approval_of(second, "2", 2), approval_of(second, "2", 3, scope=Scope.LIVE)
    shadow, canary = Traffic(mode=Mode.SHADOW), Traffic(mode=Mode.CANARY, share=0.5)
    blend = Traffic(mode=Mode.BLEND, blend=Blend())
    cases = (
        (paper, shadow, True),
        (paper, canary, False),
        (paper, blend, False),
        (live, canary, True),
        (live, blend, True),
    )
    request = request_for(first, 40)
    for challenger, traffic, passes in cases:
        store.set_policy("tidegate-test", champion=champion, challenger=challenger, traffic=traffic)
        with LocalPredictor(store.root, 10.0) as local:
            guard = LiveScopeGuard(local, local)
            if passes:
                assert len(await guard.predict(request)) == 40
            else:
                with pytest.raises(RefusedError, match=r"version 2 .* is approved for paper, not for a live account"):
                    await guard.predict(request)


async def test_a_service_ahead_of_the_trader_counts_and_one_behind_only_with_what_still_stands(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    first, second = verified(tmp_path / "one"), verified(tmp_path / "two", bias=0.3)
    for package in (first, second):
        store.add(package)
    champion, challenger = (approval_of(one, str(n), n, Scope.LIVE) for n, one in ((1, first), (2, second)))
    canary = Traffic(mode=Mode.CANARY, share=1.0)
    store.move(champion)
    with LocalPredictor(store.root, 600.0) as behind:
        store.set_policy("tidegate-test", champion=champion, challenger=challenger, traffic=canary)
        with LocalPredictor(store.root, 600.0) as ahead:
            answers = await LiveScopeGuard(ahead, behind).predict(request_for(first))
            assert {answer.arm for answer in answers} == {"challenger"}
            store.move(champion)  # rolled back: the challenger's answers no longer count
            with LocalPredictor(store.root, 600.0) as newest:
                with pytest.raises(RefusedError, match="the version approved for live trading"):
                    await LiveScopeGuard(ahead, newest).predict(request_for(first))
                assert len(await LiveScopeGuard(behind, newest).predict(request_for(first))) == 3
