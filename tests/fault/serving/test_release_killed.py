"""A release killed at every boundary and started again: the same state with the same records, to the byte."""

import base64
import multiprocessing
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from release_room import NAME, QUICK, Desk, make_registry, open_desk

from core import crash_points
from core.settings import MlflowSettings
from serving.release.bars import read_bars
from serving.release.effects import resume_all
from serving.release.evidence import verify_package
from serving.release.rollback import strategy_folder

POINTS = [name for name in crash_points.CRASH_POINTS if name.startswith("release.")]
FORK = multiprocessing.get_context("fork")


def tell(folder: Path, ending: str) -> Desk:
    """Do what is left of a story on a folder: whoever was killed does no more and no less when started again.

    Version 1 becomes champion; version 2 goes through shadow and canary and becomes champion, or is stopped for harm.
    """
    settings = make_settings(folder)
    packages = {version: verify_package(folder.parent / "registry" / "packages" / version) for version in "12"}
    desk = open_desk(settings, packages, folder, f"sqlite:///{folder}/platform.db")
    desk.policy = msgspec.structs.replace(QUICK, bento=ending == "champion")
    resume_all(desk.room)
    approved = {record.version for record in desk.room.approvals.records()}
    if "1" not in approved:
        desk.approve("1")
    if "2" not in approved:
        carry_on(desk)
        desk.approve("2")
    carry_on(desk)
    for _ in range(4):
        present = desk.room.releases.current(NAME)
        harmful = ending == "harm" and present is not None and present.step == 1
        desk.find(20, benefit=25.0, harm=30.0 if harmful else 1.0)
        carry_on(desk)
    return desk


def carry_on(desk: Desk) -> None:
    """Advance as the release service does, Bentos included."""
    from serving.release.effects import build_bentos

    desk.advance()
    build_bentos(desk.room, NAME)


def make_settings(folder: Path) -> Any:
    from core.settings import Settings

    return Settings(state_directory=folder, mlflow=MlflowSettings(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}"))


def outcome(desk: Desk) -> dict[str, Any]:
    """Everything a release leaves behind."""
    room = desk.room
    pointer = room.store.pointer(NAME)
    return {
        "records": msgspec.to_builtins(room.releases.verify()),
        "releases": msgspec.to_builtins(room.releases.releases()),
        "unfinished": msgspec.to_builtins(room.releases.unfinished()),
        "approvals": msgspec.to_builtins(room.approvals.verify_chain()),
        "policy": msgspec.to_builtins(pointer),
        "bars": msgspec.to_builtins(read_bars(strategy_folder(room.store, NAME))),
        "aliases": desk.aliases(),
        "tags": {version: desk.tags(version) for version in "12"},
    }


def in_a_fork(work: Callable[[], Any]) -> tuple[int, Any]:
    """Run in a process of its own, which shares no connection with this one; return exit code and result."""
    receive, send = FORK.Pipe(duplex=False)

    def run() -> None:
        send.send(work())

    process = FORK.Process(target=run)
    process.start()
    send.close()
    try:
        result = receive.recv()
    except EOFError:
        result = None
    process.join(60.0)
    return process.exitcode or 0, result


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry of two versions, as training left it."""
    import bentoml  # noqa: F401 - once here, not in every fork
    import mlflow.store.model_registry.sqlalchemy_store  # noqa: F401

    folder = tmp_path_factory.mktemp("release-killed")

    def make() -> None:
        make_registry(folder / "registry", versions=2)

    assert in_a_fork(make)[0] == 0
    return folder


def begin(registry: Path, name: str) -> Path:
    """Return the folder of a story that has not begun: its own copy of the registry, the same keys."""
    folder = registry / name
    (folder / "keys").mkdir(parents=True)
    shutil.copy(registry / "registry" / "mlflow.db", folder / "mlflow.db")
    (folder / "keys" / "approvals.key").write_bytes(base64.b64encode(bytes(range(32))))
    (folder / "keys" / "approvals.key").chmod(0o600)
    return folder


def told_in_one(registry: Path, ending: str) -> dict[str, Any]:
    code, whole = in_a_fork(lambda: outcome(tell(begin(registry, f"{ending}-whole"), ending)))
    assert code == 0
    return whole


def told_with_kills(registry: Path, ending: str, points: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Tell a story whose process dies at the next point of the list, again and again; return outcome and deaths."""
    folder, died = begin(registry, f"{ending}-killed"), []
    for number in range(60):
        point = points[number % len(points)]

        def work(at: str = f"{point}:{1 + number // len(points) % 2}") -> dict[str, Any]:
            crash_points.arm(at)
            desk = tell(folder, ending)
            crash_points.arm("")
            return outcome(desk)

        code, found = in_a_fork(work)
        if found is not None and code == 0:
            if set(points) <= set(died):
                return found, died
            continue
        assert code == -signal.SIGKILL, f"{point}: ended with {code}"
        died.append(point)
    raise AssertionError(f"60 starts were not enough; died at {died}")


@pytest.mark.parametrize("ending", ["champion", "harm"])
def test_killed_at_every_boundary_a_release_ends_the_same(registry: Path, ending: str) -> None:
    whole = told_in_one(registry, ending)
    points = [name for name in POINTS if ending == "champion" or name != "release.bento_built"]
    killed, died = told_with_kills(registry, ending, points)
    assert set(died) == set(points)
    assert killed == whole
    assert whole["unfinished"] == []
    assert [record["after"] for record in whole["records"] if record["version"] == "2"][-1] == (
        "champion" if ending == "champion" else "rolled_back"
    )
    assert [bar["version"] for bar in whole["bars"]] == ([] if ending == "champion" else ["2"])
