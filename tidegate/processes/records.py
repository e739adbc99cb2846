"""Run records: which processes of this state directory run, so that another process can show or end them.

One file a service under ``<state>/run``. A record names processes by pid *and* start time, and the token in their
environment: a foreign process that has got the same pid later is never mistaken for ours.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from core.embedded.guarded import GuardedProcess, end_marked
from core.embedded.guardian import process_start, send
from core.files import read_json, write_json

SUPERVISOR = "supervisor"  # the record of the process that owns the others


class RunRecord(msgspec.Struct, frozen=True):
    """One running service (or the supervisor itself, then without a command)."""

    name: str
    guardian: tuple[int, int]  # process id, start time in clock ticks since boot
    command: tuple[int, int]
    token: str
    url: str = ""
    log: str = ""
    started: float = 0.0  # seconds since the epoch
    restarts: int = 0
    boot: str = ""  # of the machine: after a reboot every number means something else

    @property
    def alive(self) -> bool:
        """Whether the guardian still runs."""
        return self.boot == boot_id() and process_start(self.guardian[0]) == self.guardian[1]


def boot_id() -> str:
    """The kernel's identifier of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def folder(state: Path) -> Path:
    """Where the records of a state directory lie."""
    return state / "run"


def write_record(state: Path, name: str, process: GuardedProcess, url: str, restarts: int = 0) -> RunRecord:
    """Record a started service."""
    record = RunRecord(
        name=name,
        guardian=(process.guardian_pid, process_start(process.guardian_pid) or 0),
        command=process.identity,
        token=process.token,
        url=url,
        log=str(process.log_file or ""),
        started=time.time(),
        restarts=restarts,
        boot=boot_id(),
    )
    write_json(folder(state) / f"{name}.json", msgspec.to_builtins(record))
    return record


def write_own_record(state: Path, name: str) -> None:
    """Record this process itself, which no guardian watches."""
    own = (os.getpid(), process_start(os.getpid()) or 0)
    record = RunRecord(name=name, guardian=own, command=own, token="", started=time.time(), boot=boot_id())
    write_json(folder(state) / f"{name}.json", msgspec.to_builtins(record))


def remove_record(state: Path, name: str) -> None:
    """Forget a service that has ended."""
    (folder(state) / f"{name}.json").unlink(missing_ok=True)


def read_records(state: Path) -> list[RunRecord]:
    """Return the records of a state directory, in the order of their start; a damaged file is no record."""
    records: list[RunRecord] = []
    for path in sorted(folder(state).glob("*.json")):
        try:
            content: Any = read_json(path)
            records.append(msgspec.convert(content, RunRecord))
        except (OSError, ValueError, msgspec.ValidationError):
            continue
    return sorted(records, key=lambda record: (record.started, record.name))


def end_recorded(state: Path, records: Sequence[RunRecord] | None = None, grace_seconds: float = 30.0) -> list[str]:
    """End what the records name, last started first, and forget it; return the names of those that still ran."""
    ended: list[str] = []
    chosen = list(reversed(read_records(state) if records is None else records))
    for record in chosen:
        if record.alive:
            ended.append(record.name)
            send(record.guardian[0], signal.SIGTERM, record.guardian[1])
    deadline = time.monotonic() + grace_seconds
    while any(record.alive for record in chosen) and time.monotonic() < deadline:
        time.sleep(0.05)
    for record in chosen:
        if record.boot == boot_id():
            left = end_marked(record.token, grace_seconds=2.0, also=[record.guardian, record.command])
            if left and record.name not in ended:
                ended.append(record.name)
        remove_record(state, record.name)
    return ended
