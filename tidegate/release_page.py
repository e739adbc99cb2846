"""Write the page of a release from the ledgers of a platform."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import BadInputError
from core.files import write_bytes
from serving.release.effects import ReleaseRoom
from serving.release.states import Release
from tidegate.platform import Addresses
from tidegate.release import release_room
from training.online.page import release_page
from training.online.watch import chapter_of


def write_release_page(
    addresses: Addresses, name: str, release_id: str | None, params: Mapping[str, Any], output: Path | None = None
) -> dict[str, Any]:
    """Write the page of a release; the one under way, else the newest when none is named.

    Args:
        addresses: of the platform.
        name: registered model, which is the strategy.
        release_id: of the release, or None.
        params: content of the workspace's ``params.yaml``: sizing and blocks of the comparison.
        output: file to write; ``<state>/reports/releases/<release>.html`` when None.

    Raises:
        BadInputError: there is no such release, or none at all.
        IntegrityError: the ledger of releases does not hold.
        UnavailableError: the database does not answer.
    """
    with release_room(addresses) as room:
        room.releases.verify()
        release = room.releases.get(release_id) if release_id else newest(room, name)
        path = output or page_path(addresses.state, release)
        write_page(room, release, params, path)
    return {"release": release.release_id, "state": release.words, "page": str(path)}


def write_page(room: ReleaseRoom, release: Release, params: Mapping[str, Any], path: Path) -> None:
    """Write one page, whole or not at all."""
    chapter = chapter_of(room.approvals.engine, release, room.releases.history(release.release_id), params)
    write_bytes(path, release_page(chapter).encode())


def page_path(state: Path, release: Release) -> Path:
    """Return where the page of a release lies."""
    return state / "reports" / "releases" / f"{release.release_id}.html"


def newest(room: ReleaseRoom, name: str) -> Release:
    """Return the release under way, else the one that moved last.

    Raises:
        BadInputError: nothing was ever released.
    """
    every = room.releases.releases(name)
    if not every:
        raise BadInputError(f"no version of {name} was ever released: `tidegate approve VERSION --reason …`")
    return room.releases.current(name) or every[-1]
