"""Write the page of a release from the ledgers of a platform."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.errors import BadInputError, UnavailableError
from core.files import write_bytes
from serving.release.effects import ReleaseRoom
from serving.release.publish import registry_client
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


class ReleasePages:
    """Keeps the pages of one strategy's releases up to date, and beside each version in the registry.

    A page is written again while its release is under way; the registry gets it with each transition.
    """

    def __init__(self, state: Path, strategy: str, params: Mapping[str, Any], room: Callable[[], ReleaseRoom]) -> None:
        self._state = state
        self._strategy = strategy
        self._params = params
        self._room = room
        self._attached: dict[str, int] = {}  # transitions of a release that the registry's page shows

    def refresh(self) -> None:
        """Write what has changed.

        Raises:
            BadInputError, IntegrityError, UnavailableError: as ``write_release_page``; also where the registry is away.
        """
        room = self._room()
        for release in room.releases.releases(self._strategy):
            path = page_path(self._state, release)
            moved = self._attached.get(release.release_id) != release.number
            if moved or release.open:
                write_page(room, release, self._params, path)
            if moved:
                _attach(room, release, path)
                self._attached[release.release_id] = release.number


def _attach(room: ReleaseRoom, release: Release, path: Path) -> None:
    """Put a page beside the version's package."""
    from mlflow.exceptions import MlflowException

    client = registry_client(room.settings)
    try:
        version = client.get_model_version(release.strategy, release.version)
        client.log_artifact(str(version.run_id), str(path), artifact_path="release")
    except (MlflowException, OSError) as error:
        raise UnavailableError(f"the page of {release.release_id} is not in the registry: {error}") from error
