"""The lock that makes a journal's writer the only one, and the question whether it is held, which takes nothing.

A lock of the open file description (``F_OFD_SETLK``, fcntl(2)): like ``flock`` it is given back when its last file
descriptor is closed, by a dying process too, and another file descriptor of the same process does not share it. Unlike
``flock`` it can be asked about without being taken, so that somebody who only looks never keeps a writer out.
"""

import fcntl
import os
import struct
from pathlib import Path

NAME = "lock"  # in the journal's folder
_FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length (0: all), process


def take_lock(handle: int) -> None:
    """Lock the open file for writing.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    fcntl.fcntl(handle, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))


def is_locked(directory: Path) -> bool:
    """Return whether a process holds the journal in ``directory``; False too where there is no journal."""
    try:
        handle = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        wanted = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        found = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, wanted)
    finally:
        os.close(handle)
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)
