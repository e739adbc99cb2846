"""Experiments beside the champion: only approved versions, never beside a release, ended by hand."""

import json
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest
from release_room import NAME, Desk, findings, make_desk, make_registry

from core.errors import BadInputError, RefusedError
from serving.release.approvals import Decision
from serving.release.findings import ArmFigures
from serving.traffic.assignment import assigned
from serving.traffic.policy import Blend, Mode, Traffic, Weighting
from tidegate.traffic import (
    begin_experiment,
    describe_arm,
    describe_traffic,
    end_experiment,
    experiment_traffic,
    moved_blend,
    reweigh,
)

AB = Traffic(mode=Mode.AB, share=0.5, salt="spring")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("traffic")
    settings, packages = make_registry(folder)
    desk = make_desk(settings, packages, folder, f"sqlite:///{folder / 'ledger.db'}")
    yield desk
    desk.room.approvals.engine.dispose()


def test_an_experiment_from_its_refusals_to_its_end(desk: Desk) -> None:
    room = desk.room
    with pytest.raises(RefusedError, match="no champion yet"):
        begin_experiment(room, NAME, "2", AB)
    champion = desk.approve("1")
    room.store.add(desk.packages["1"])
    room.store.move(champion)
    with pytest.raises(RefusedError, match="no standing approval"):
        begin_experiment(room, NAME, "2", AB)
    desk.approve("2")
    with pytest.raises(RefusedError, match=r"the share is 1\.5"):
        begin_experiment(room, NAME, "2", msgspec.structs.replace(AB, share=1.5))
    with pytest.raises(RefusedError, match="the same model"):
        begin_experiment(room, NAME, "1", AB)
    with pytest.raises(BadInputError, match="a canary is a step of a release"):
        experiment_traffic(Mode.CANARY, 0.5, 3600, "x", 0.5, Weighting.FIXED, 0)
    with pytest.raises(RefusedError, match="no experiment"):
        end_experiment(room, NAME)
    assert desk.served() == ("1", "", "champion", 0.0)

    begun = begin_experiment(room, NAME, "2", AB)  # its package comes from the registry
    assert desk.served() == ("1", "2", "ab", 0.5)
    told = describe_arm(room.store, NAME, "EUR_USD", 7_200_000_000_000, None)
    arm = assigned(AB, NAME, "EUR_USD", 7_200_000_000_000)
    assert (told["arm"], told["revision"], told["block"]) == (arm.value, begun["revision"], 2)
    assert describe_arm(room.store, NAME, "EUR_USD", 7_200_000_000_000, 1)["arm"] == "champion"
    with pytest.raises(BadInputError, match="has no policy 9"):
        describe_arm(room.store, NAME, "EUR_USD", 1, 9)
    assert end_experiment(room, NAME)["challenger"] == ""
    assert [row["mode"] for row in describe_traffic(room.store, NAME, 2)["revisions"]] == ["champion", "ab"]

    desk.reject("2")
    with pytest.raises(RefusedError, match="no standing approval"):
        begin_experiment(room, NAME, "2", AB)
    assert room.approvals.records()[-1].decision is Decision.REJECTED

    words = ["traffic", "show", "--model", NAME, "--state", str(room.store.root.parent), "--json"]
    # A process of its own: settings are read once in each.
    shown = subprocess.run(
        [sys.executable, "-m", "tidegate.cli", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert [row["revision"] for row in json.loads(shown.stdout.splitlines()[-1])["revisions"]] == [3, 2, 1]


def test_a_blend_by_performance_follows_the_money_and_not_the_noise() -> None:
    blend = Blend(weighting=Weighting.PERFORMANCE, first=0.5, weight=0.5)

    def arms(champion: float, challenger: float) -> tuple[ArmFigures, ...]:
        figures = (("champion", "c", champion), ("challenger", "d", challenger))
        return tuple(
            ArmFigures(
                arm=arm,
                model_version="1",
                model_digest=digest,
                decisions=10,
                traded=5,
                net_return=net,
                cost=0.0,
                log_loss=None,
            )
            for arm, digest, net in figures
        )

    moved = moved_blend(blend, findings(10, arms=arms(0.0, 0.01)), "c", "d")
    assert moved is not None and moved.weight == moved.first == pytest.approx(0.731, abs=0.001)
    assert moved_blend(blend, findings(10, arms=arms(0.0, 0.0005)), "c", "d") is None  # less than two percent
    assert moved_blend(blend, findings(0, arms=arms(0.0, 0.5)), "c", "d") is None  # no outcome is known yet
    assert moved_blend(blend, findings(10), "c", "d") is None  # one of the two has no figures


def test_only_a_blend_by_performance_is_reweighed(desk: Desk) -> None:
    room = desk.room
    before = room.store.pointer(NAME)
    assert reweigh(room, NAME, {}) is None  # reads neither parameters nor ledger
    assert room.store.pointer(NAME) == before
