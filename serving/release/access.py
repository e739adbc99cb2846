"""The registry's log of changes: who set or was refused which tag or alias, written before MLflow changes anything.

MLflow itself keeps no name beside a tag. One JSON line per attempt; each carries an HMAC over its content and over the
HMAC of the line before it, with a key of 0600 that server and watcher share: an edited, removed or inserted line, and
one written by somebody who has no key, does not hold. A line that a kill cut off was never followed by a change.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from core.digest import canonical_json
from core.errors import IntegrityError
from core.settings import Settings
from serving.release.signing import secret_file

GENESIS = "0" * 64


class Access(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One attempt to change the registry."""

    sequence: int
    time_ns: int
    id: str  # drawn anew for every attempt: the same tag set twice is two attempts
    user: str
    roles: tuple[str, ...]
    action: str  # set_tag, delete_tag, set_alias, delete_alias, create_version, …
    model_name: str
    version: str  # empty where the action is about the whole model
    key: str  # of the tag, or the alias
    value: str
    allowed: bool
    words: str  # why it was refused
    previous: str
    mac: str = ""

    def computed_mac(self, secret: bytes) -> str:
        """Return the HMAC that the line must carry."""
        fields = cast(dict[str, Any], msgspec.to_builtins(self))
        content = canonical_json({name: value for name, value in fields.items() if name != "mac"})
        return hmac.new(secret, content, hashlib.sha256).hexdigest()


def access_paths(settings: Settings) -> tuple[Path, Path]:
    """Return where the log and its key are."""
    log = settings.mlflow.access_log or settings.state / "mlflow" / "access.jsonl"
    return log, settings.state / "keys" / "mlflow-access.key"


class AccessLog:
    """Write and read the log. Several processes of a server may write; a reader keeps its place between calls."""

    def __init__(self, path: Path, key_file: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self._secret = secret_file(key_file, secrets.token_hex(32).encode())
        self._clock = clock
        self._lock = threading.Lock()
        self._place, self._last, self._entries = 0, (0, GENESIS), list[Access]()

    @classmethod
    def of(cls, settings: Settings) -> "AccessLog":
        """The log of a platform."""
        return cls(*access_paths(settings))

    def write(
        self,
        *,
        user: str,
        roles: tuple[str, ...],
        action: str,
        model_name: str,
        version: str = "",
        key: str = "",
        value: str = "",
        allowed: bool,
        words: str = "",
    ) -> Access:
        """Append an attempt durably and return it.

        Raises:
            IntegrityError: what is there does not hold: nothing may be added to it.
            OSError: the disk does not take it. What is to be logged must not happen then.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.path.open("ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self._read()
            sequence, previous = self._last
            draft = Access(
                sequence=sequence + 1,
                time_ns=self._clock(),
                id=secrets.token_hex(16),
                user=user,
                roles=roles,
                action=action,
                model_name=model_name,
                version=version,
                key=key,
                value=value,
                allowed=allowed,
                words=words,
                previous=previous,
            )
            entry = msgspec.structs.replace(draft, mac=draft.computed_mac(self._secret))
            stream.truncate(self._place)  # what a kill left unfinished
            stream.seek(self._place)
            stream.write(canonical_json(msgspec.to_builtins(entry)) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
            self._read()
            return entry

    def entries(self) -> list[Access]:
        """Return every attempt, oldest first; only what is new since the last call is read.

        Raises:
            IntegrityError: a line was edited, removed or inserted; the message names it.
        """
        with self._lock:
            self._read()
            return list(self._entries)

    def _read(self) -> None:
        try:
            with self.path.open("rb") as stream:
                if stream.seek(0, os.SEEK_END) < self._place:
                    raise self._broken(f"its end is gone: it was {self._place} bytes long")
                stream.seek(self._place)
                content = stream.read()
        except FileNotFoundError:
            if self._place:
                raise self._broken("it was removed") from None
            return
        finished = content.split(b"\n")[:-1]  # by this byte alone; what follows the last one a kill cut off
        for line in finished:
            sequence, previous = self._last
            try:
                entry = msgspec.json.decode(line, type=Access)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self._broken(f"line {sequence + 1} is malformed") from None
            if (entry.sequence, entry.previous) != (sequence + 1, previous):
                raise self._broken(f"line {sequence + 1} does not follow the one before it")
            # The bytes, not only what they mean: every changed byte is found.
            whole = canonical_json(msgspec.to_builtins(entry))
            if whole != line or not hmac.compare_digest(entry.mac, entry.computed_mac(self._secret)):
                raise self._broken(f"line {sequence + 1} was edited, or was not written by the server")
            self._entries.append(entry)
            self._last, self._place = (entry.sequence, entry.mac), self._place + len(line) + 1

    def _broken(self, words: str) -> IntegrityError:
        return IntegrityError(
            f"the registry's log of changes {self.path} does not hold: {words}; no decision can be told from it, "
            "look who changed it"
        )
