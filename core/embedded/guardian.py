"""The guardian: a small process that stands between an owner and one command and lets nothing outlive the owner.

It is run by path (``python -I -S guardian.py SPEC``) and imports the standard library only, so that it starts in
milliseconds and weighs little. It is a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): whatever the command
starts, daemons included, is re-parented to it and stays findable. It ends everything when

* its standard input, a pipe held by the owner, closes: the owner asked for the end, or died in whatever way;
* its parent changes: the owner died while a forked child still holds the pipe;
* the command ends by itself: nothing it started stays behind;
* it gets SIGTERM.

An owner that writes ``KEEP`` into the pipe lets go: from then on only the command's end or SIGTERM count.

The end is: the stop signal to the command, a grace period, SIGTERM to the rest, then SIGKILL until nobody is left.
Should the guardian itself be killed, its command gets the stop signal (PR_SET_PDEATHSIG), and the owner finds the
rest by the token in their environment (``marked``).
"""

import ctypes
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

KEEP = b"keep\n"
TOKEN = "TIDEGATE_GUARD_TOKEN"  # every descendant inherits it, also one that left session, group and parent
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_CHILD_SUBREAPER, _PR_CAP_AMBIENT = 1, 8, 36, 47
_CAP_DAC_READ_SEARCH = 2
_REST_GRACE_SECONDS = 2.0


def process_start(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot, None when there is none (or it is a zombie).

    Pid and start time together name one process for ever, unlike the pid alone.
    """
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command name: state, parent, …"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def _pids() -> list[int]:
    """Every process id of the machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parents() -> dict[int, tuple[int, str]]:
    """Parent and state of every process of the machine."""
    found: dict[int, tuple[int, str]] = {}
    for pid in _pids():
        if (fields := _stat(pid)) is not None:
            found[pid] = (int(fields[1]), fields[0])
    return found


def descendants(root: int) -> list[int]:
    """Return the living descendants of a process, nearest first; zombies are left out."""
    parents = _parents()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = sorted(children.get(queue.pop(0), []))
        queue += below
        found += [pid for pid in below if parents[pid][1] not in "ZX"]
    return found


def marked(token: str) -> list[int]:
    """Return every process of the machine whose environment carries ``token``, whoever its parent is now."""
    wanted = f"{TOKEN}={token}".encode()
    found: list[int] = []
    for pid in _pids():
        try:
            content = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # gone, or somebody else's
            continue
        if pid != os.getpid() and wanted in content.split(b"\0") and process_start(pid) is not None:
            found.append(pid)
    return found


def send(pid: int, number: int, start: int | None = None) -> None:
    """Signal a process through a pid file descriptor; with ``start``, only if it is still the same process."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if start is None or process_start(pid) == start:
            signal.pidfd_send_signal(handle, number)
    except OSError:  # it ended, or it is not ours to signal
        pass
    finally:
        os.close(handle)


def _prctl(*arguments: int) -> bool:
    library = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[1:5]]
    return library.prctl(arguments[0], *padded) == 0


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _become(uid: int, gid: int) -> None:
    """Give up root for ``uid``, keeping only the right to pass through folders closed to others.

    PostgreSQL refuses to run as root. Its folders may lie below one that only root may enter (/root); widening that
    folder's mode would be worse than this one capability, of which only its own start makes use.
    """
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    bit = 1 << _CAP_DAC_READ_SEARCH
    header = _CapabilityHeader(0x20080522, 0)
    data = (_CapabilityData * 2)(_CapabilityData(bit, bit, bit), _CapabilityData(0, 0, 0))
    if ctypes.CDLL(None).capset(ctypes.byref(header), ctypes.byref(data)) == 0:
        _prctl(_PR_CAP_AMBIENT, 2, _CAP_DAC_READ_SEARCH)  # PR_CAP_AMBIENT_RAISE: survives exec
    # where the container withholds the capability, plain permissions decide


def _execute(specification: dict[str, Any]) -> None:
    """Become the command; runs in the forked child and never returns."""
    guardian = os.getppid()
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
        if specification.get("directory"):
            os.chdir(specification["directory"])
        if specification.get("uid"):
            _become(specification["uid"], specification["gid"])
        _prctl(_PR_SET_PDEATHSIG, specification["stop_signal"])  # after the change of user, which clears it
        if os.getppid() != guardian:
            os._exit(1)
        command = specification["command"]
        os.execvp(command[0], command)
    except BaseException as error:
        sys.stderr.write(f"cannot start {specification['command'][0]}: {error}\n")
        sys.stderr.flush()
        os._exit(127)


class Guardian:
    """State of the one command this process guards."""

    def __init__(self, specification: dict[str, Any]) -> None:
        self._specification = specification
        self._owner = os.getppid()
        self._released = False
        self._stopping = False
        self._command = 0
        self._status: int | None = None
        self._wake_read, wake_write = os.pipe()
        for end in (self._wake_read, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write)

    def run(self) -> int:
        """Start the command, wait for its end or the owner's, leave nothing behind; return the command's code."""
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        for descriptor in (self._specification["report"], *self._specification["held"]):
            os.set_inheritable(descriptor, False)  # ours alone: a lock must be free as soon as we are gone
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for number in (signal.SIGCHLD, signal.SIGUSR1):  # wake the loop, nothing more
            signal.signal(number, lambda *_: None)
        # Sent also when merely the owner's thread that started us ends: the loop then asks who the parent is.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
        self._command = os.fork()
        if self._command == 0:
            _execute(self._specification)
        for descriptor in self._specification["inherited"]:
            os.close(descriptor)  # the command's alone: its end must be an end of file to whoever reads
        report = self._specification["report"]
        os.write(report, f"{self._command} {process_start(self._command) or 0}\n".encode())
        os.close(report)
        while self._status is None and not self._stopping:
            self._wait(1.0)
        if self._status is None:
            send(self._command, self._specification["stop_signal"])
            self._wait_until(self._specification["grace_seconds"], lambda: self._status is not None)
        self._end_rest()
        status = self._status
        code = 1 if status is None else os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal, the owner's end or the time-out; then take note of what happened."""
        watched = [self._wake_read] if self._stopping or self._released else [self._wake_read, 0]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if 0 in ready:
            message = os.read(0, 4096)
            if message == KEEP:
                self._released = True
                for descriptor in self._specification["held"]:
                    os.ftruncate(descriptor, 0)  # locks name their owner; from now on there is none
            self._stopping = self._stopping or not message
        if not self._released and os.getppid() != self._owner:
            self._stopping = True
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._command:
                self._status = status

    def _wait_until(self, seconds: float, condition: Any) -> bool:
        deadline = time.monotonic() + seconds
        self._stopping = True
        while not condition():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._wait(min(remaining, 0.1))
        return True

    def _end_rest(self) -> None:
        """SIGTERM, a short grace, then SIGKILL until no descendant is left (one may fork while we look)."""
        own = os.getpid()
        for pid in descendants(own):
            send(pid, signal.SIGTERM)
        if self._wait_until(_REST_GRACE_SECONDS, lambda: not descendants(own)):
            return
        for _ in range(200):
            left = descendants(own)
            if not left:
                return
            for pid in left:
                send(pid, signal.SIGKILL)
            self._wait(0.05)


if __name__ == "__main__":
    sys.exit(Guardian(json.loads(sys.argv[1])).run())
