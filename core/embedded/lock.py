"""The lock of an embedded server's directory: held by the server's guardian, free exactly when that is gone."""

import fcntl
import os
from pathlib import Path

from core.embedded.guardian import process_start


class DirectoryLock:
    """An exclusive lock on ``<directory>/.lock`` that is handed to a guardian and lives as long as that does."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / ".lock"
        self.descriptor = -1

    def acquire(self) -> bool:
        """Try to take the lock without waiting; False when a living server holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {process_start(os.getpid())}".encode())
        return True

    def abandoned(self) -> bool:
        """Whether the lock is held for an owner that is dead: what it held will end in a moment.

        A guardian whose owner let go on purpose has emptied the file.
        """
        try:
            pid, start = self._path.read_text().split()
        except (OSError, ValueError):
            return False
        return process_start(int(pid)) != int(start)

    def release(self) -> None:
        """Close this process's handle; a guardian that was given it keeps the lock."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
