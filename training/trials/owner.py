"""Who runs a trial: one row per process, by which another process can tell that it is gone.

A process on the same machine, in the same boot and process namespace is gone exactly when nothing with its pid and
start time exists; however long it was stopped, it is not gone before. A process that cannot be seen from here (another
host, another container, another boot) counts as gone after ``LEASE_SECONDS`` without a heartbeat. Should it live after
all, its rows are closed to it: what it brings too late is refused (``chain.close_rows``), so nothing is counted twice.
"""

import os
import platform
import socket
import uuid
from pathlib import Path

import msgspec
import sqlalchemy as sa

from core.embedded.guardian import process_start
from training.trials.database import now_ns
from training.trials.tables import owners

HEARTBEAT_SECONDS = 15.0
LEASE_SECONDS = 120.0  # eight heartbeats: a long pause of a virtual machine or of the network is no death


class Owner(msgspec.Struct, frozen=True):
    """A process that runs trials."""

    owner: str
    host: str
    boot_id: str
    namespace: str
    pid: int
    process_start: int


def this_process() -> Owner:
    """Return a new owner for this process."""
    return Owner(
        owner=uuid.uuid4().hex,
        host=socket.gethostname(),
        boot_id=_read(Path("/proc/sys/kernel/random/boot_id")) or platform.node(),
        namespace=_link(Path("/proc/self/ns/pid")),
        pid=os.getpid(),
        process_start=process_start(os.getpid()) or 0,
    )


def beat(connection: sa.Connection, owner: Owner) -> bool:
    """Renew the heartbeat; False where the owner has no row or was declared gone."""
    done = connection.execute(
        owners.update()
        .where(owners.c.owner == owner.owner, owners.c.ended_ns.is_(None))
        .values(heartbeat_ns=now_ns(connection))
    )
    return done.rowcount == 1


def present(connection: sa.Connection, owner: Owner) -> Owner:
    """Renew the heartbeat, writing the owner's row first; return it, under another key if declared gone."""
    if beat(connection, owner):
        return owner
    if connection.execute(sa.select(owners.c.pid).where(owners.c.owner == owner.owner)).scalar() is not None:
        owner = msgspec.structs.replace(owner, owner=uuid.uuid4().hex)
    now = now_ns(connection)
    row = {**msgspec.to_builtins(owner), "started_ns": now, "heartbeat_ns": now, "ended_ns": None}
    connection.execute(owners.insert(), row)
    return owner


def end(connection: sa.Connection, owner: str, heartbeat_ns: int | None = None) -> bool:
    """Mark an owner as ended; with ``heartbeat_ns`` only if it gave no sign since that one."""
    condition = [owners.c.owner == owner, owners.c.ended_ns.is_(None)]
    if heartbeat_ns is not None:
        condition.append(owners.c.heartbeat_ns == heartbeat_ns)
    done = connection.execute(owners.update().where(*condition).values(ended_ns=now_ns(connection)))
    return done.rowcount == 1


def why_gone(row: sa.RowMapping, here: Owner, now: int) -> str | None:
    """Return in words why an owner is gone, None where it lives or may live.

    Args:
        row: of ``trial_owners``.
        here: this process.
        now: by the clock that wrote the heartbeats.
    """
    visible = here.process_start and row["process_start"] and bool(here.namespace)
    if visible and (row["boot_id"], row["namespace"]) == (here.boot_id, here.namespace):
        if process_start(row["pid"]) == row["process_start"]:
            return None
        return f"process {row['pid']} on {row['host']} ended without closing it"
    silent = (now - row["heartbeat_ns"]) / 1e9
    if silent <= LEASE_SECONDS:
        return None
    return f"process {row['pid']} on {row['host']} gave no sign for {silent:.0f} s"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
