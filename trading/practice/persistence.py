"""State on disk: a snapshot and the journal of every command since.

One journal line is ``<crc32 hex> <json>``, written with one ``write`` before the command is applied, so that SIGKILL
loses nothing that was answered; replaying the commands rebuilds the state because the exchange is deterministic. A torn
last line (the process died inside ``write``) was never applied and is cut off; a damaged line elsewhere is an error.
Lines are not fsynced: a power cut may lose the newest ones, which a practice account can bear.

Files in the folder: ``snapshot.json`` (sequence number, feed cursor, book) and ``journal-<sequence>.log``.
"""

import os
import zlib
from pathlib import Path

import msgspec

from core.domain import Instrument
from core.errors import IntegrityError
from core.files import write_bytes
from trading.matching.commands import AnyCommand, Ticks
from trading.matching.exchange import Exchange

Cursor = tuple[int, int]

_COMPACT_BYTES = 16_000_000
_DECODER = msgspec.json.Decoder(AnyCommand)
_ENCODER = msgspec.json.Encoder()


class _Snapshot(msgspec.Struct):
    sequence: int
    cursor: Cursor
    book: msgspec.Raw


class Store:
    """Where a venue keeps its state; a ``folder`` of None keeps nothing."""

    def __init__(self, folder: Path | None, compact_bytes: int = _COMPACT_BYTES) -> None:
        self.folder = folder
        self._compact_bytes = compact_bytes
        self._sequence = 0
        self._file: int | None = None
        self._size = 0

    @property
    def keeps(self) -> bool:
        """Whether anything is written at all."""
        return self._file is not None

    def recover(self, instruments: dict[str, Instrument]) -> tuple[Exchange, Cursor] | None:
        """Rebuild the state, or return None for a fresh start.

        Raises:
            IntegrityError: the files are damaged.
        """
        if self.folder is None or not (self.folder / "snapshot.json").exists():
            return None
        path = self.folder / "snapshot.json"
        try:
            snapshot = msgspec.json.decode(path.read_bytes(), type=_Snapshot)
        except msgspec.DecodeError as error:
            raise IntegrityError(
                f"{path} is damaged ({error}); restore it or start with a fresh state folder"
            ) from None
        exchange = Exchange.restore(instruments, bytes(snapshot.book))
        self._sequence, cursor = snapshot.sequence, snapshot.cursor
        self._open()
        for command in self._replay():
            exchange.apply(command)
            if isinstance(command, Ticks) and command.cursor is not None:
                cursor = command.cursor
        return exchange, cursor

    def begin(self, exchange: Exchange) -> None:
        """Write the first snapshot of a new account."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._snapshot(exchange, (0, 0))

    def append(self, command: AnyCommand) -> None:
        """Write a command down."""
        if self._file is None:
            return
        content = _ENCODER.encode(command)
        line = b"%08x %s\n" % (zlib.crc32(content), content)
        os.write(self._file, line)
        self._size += len(line)

    def compact(self, exchange: Exchange, cursor: Cursor) -> None:
        """Replace a long journal by a snapshot."""
        if self._file is not None and self._size > self._compact_bytes:
            self._snapshot(exchange, cursor)

    def close(self) -> None:
        """Close the journal."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _journal(self) -> Path:
        assert self.folder is not None
        return self.folder / f"journal-{self._sequence}.log"

    def _open(self) -> None:
        self._file = os.open(self._journal(), os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self._size = os.fstat(self._file).st_size

    def _snapshot(self, exchange: Exchange, cursor: Cursor) -> None:
        """Write a snapshot, then start the next journal: a crash between the two loses nothing."""
        assert self.folder is not None
        old = self._journal()
        self.close()
        self._sequence += 1
        content = _ENCODER.encode(_Snapshot(self._sequence, cursor, msgspec.Raw(exchange.snapshot())))
        write_bytes(self.folder / "snapshot.json", content)
        self._open()
        old.unlink(missing_ok=True)

    def _replay(self) -> list[AnyCommand]:
        path = self._journal()
        content = path.read_bytes()
        commands: list[AnyCommand] = []
        position = 0
        while position < len(content):
            end = content.find(b"\n", position)
            line = content[position:end] if end >= 0 else b""
            if end < 0 or not _intact(line):
                if end >= 0 and end + 1 < len(content):
                    raise IntegrityError(
                        f"{path} is damaged at byte {position}; restore it or start with a fresh state folder"
                    )
                os.truncate(path, position)
                self._size = position
                break
            commands.append(_DECODER.decode(line[9:]))
            position = end + 1
        return commands


def _intact(line: bytes) -> bool:
    return len(line) > 9 and line[:8] == b"%08x" % zlib.crc32(line[9:])
