"""The sessions of a state directory: which of them a trader runs, and what each says about the kill switch."""

from pathlib import Path
from typing import Any, cast

import msgspec

from core.errors import BadInputError
from core.files import read_json
from core.journal import read_entries
from core.journal.lock import is_locked
from trading import records
from trading.control.setting import KillSwitchSetting

ACKNOWLEDGEMENT = "kill-switch.json"  # in a session's folder
_JOURNAL = "journal"


class SessionPlace(msgspec.Struct, frozen=True):
    """One session's folder.

    Attributes:
        session_id: its name.
        directory: its folder.
        running: whether a trader holds its journal.
        acknowledged: what its trader last wrote about the kill switch; empty where it never did.
    """

    session_id: str
    directory: Path
    running: bool
    acknowledged: dict[str, Any]

    @property
    def journal(self) -> Path:
        """The folder of the journal."""
        return self.directory / _JOURNAL

    def answers(self, setting: KillSwitchSetting) -> bool:
        """Whether the trader has carried this setting out. Off needs no work where the switch was not on."""
        told = self.acknowledged
        if not setting.on and not told.get("on"):
            return bool(told.get("done", True))
        same = all(told.get(name) == getattr(setting, name) for name in ("on", "reason", "by", "time_ns"))
        return same and bool(told.get("done")) and (bool(told.get("flatten")) or not setting.flatten)


def acknowledgement_path(session_directory: Path) -> Path:
    """Where a session's trader says what became of the kill switch."""
    return session_directory / ACKNOWLEDGEMENT


def sessions(state: Path) -> list[SessionPlace]:
    """Return the sessions of a state directory by name."""
    folder = state / "sessions"
    found = sorted(path for path in folder.iterdir() if (path / _JOURNAL).is_dir()) if folder.is_dir() else []
    return [
        SessionPlace(path.name, path, is_running(path), read_acknowledgement(acknowledgement_path(path)))
        for path in found
    ]


def is_running(session_directory: Path) -> bool:
    """Whether a process holds the session's journal: its one writer, whoever started it."""
    return is_locked(session_directory / _JOURNAL)


def read_acknowledgement(path: Path) -> dict[str, Any]:
    """Return what a session last said about the switch; empty where it said nothing that can be read."""
    try:
        told: object = read_json(path)
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def newest_opening(place: SessionPlace) -> records.SessionOpened | None:
    """Return the newest start that a session's journal holds; None where there is none.

    Raises:
        IntegrityError: the journal is damaged.
    """
    newest: records.SessionOpened | None = None
    try:
        for entry in read_entries(place.journal):
            if entry.kind == "session_opened":
                record = records.decode(entry)
                newest = record if isinstance(record, records.SessionOpened) else newest
    except BadInputError:
        return None
    return newest
