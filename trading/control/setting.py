"""What the kill switch is set to, and the file that holds it for every trader of a state directory."""

from pathlib import Path
from typing import Self

import msgspec

from core.files import read_json, write_json
from core.logging import get_logger
from trading import records

_log = get_logger("trading")


class KillSwitchSetting(msgspec.Struct, frozen=True):
    """One setting of the switch. Two settings of the same time, person and reason are the same one.

    Attributes:
        on: whether nothing may go out.
        flatten: whether open positions are closed too.
        reason: why, in a person's words or a breach's.
        by: who: an operating system user, ``http:NAME`` or ``breach``.
        time_ns: when, by the clock of who set it.
    """

    on: bool
    flatten: bool
    reason: str
    by: str
    time_ns: int

    def same_as(self, other: "KillSwitchSetting | records.KillSwitchSet | None") -> bool:
        """Whether both are one setting; ``flatten`` is left out, for it may be asked for later."""
        if other is None:
            return False
        return (self.on, self.reason, self.by, self.time_ns) == (other.on, other.reason, other.by, other.time_ns)

    @classmethod
    def of(cls, record: records.KillSwitchSet) -> Self:
        """Return what a journal's record says."""
        return cls(record.on, record.flatten, record.reason, record.by, record.time_ns)


class KillSwitchFile:
    """The switch on disk: written whole and synchronised, read by every trader. A damaged file counts as *on*."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> tuple[int, int, int]:
        """Return what changes whenever the file does: cheap enough for the feed's path. Zeros: there is no file."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        except OSError:
            return (-1, -1, -1)
        return (found.st_mtime_ns, found.st_ino, found.st_size)

    def read(self) -> KillSwitchSetting | None:
        """Return the setting, or None where the switch was never touched.

        What cannot be read counts as on: a switch that fails must fail to the safe side. Its time is 0, so that
        reading it again gives the same setting.
        """
        try:
            return msgspec.convert(read_json(self.path), KillSwitchSetting)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.ValidationError) as error:
            _log.error("kill switch file cannot be read: it counts as on", path=str(self.path), words=str(error))
            return KillSwitchSetting(True, False, f"{self.path.name} cannot be read", "damaged file", 0)

    def set(self, setting: KillSwitchSetting) -> None:
        """Write a setting: whole or not at all, on disk when this returns.

        Raises:
            OSError: the folder cannot be written.
        """
        write_json(self.path, msgspec.to_builtins(setting))


def switch_path(state: Path) -> Path:
    """Where the kill switch of a state directory lies."""
    return state / "control" / "kill-switch.json"
