"""What a killed DVC leaves half-written in a workspace, put right before DVC reads it again.

DVC writes two files over themselves: the register of who reads and writes which output (``.dvc/tmp/rwlock``) and the
record of what each stage last ran with (``dvc.lock``). A process killed inside such a write leaves them cut short, and
every later run ends on them.
"""

import json
from pathlib import Path
from typing import Any, cast

import psutil
import yaml


def clear_leftovers(repository: Any) -> list[str]:
    """Remove what cannot be read any more and locks of processes that are gone; return what was done, in words.

    Args:
        repository: the ``dvc.repo.Repo`` of the workspace. Its own locks are taken, so that a file that another
            process is writing at this moment is not taken for one cut short.
    """
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    done: list[str] = []
    folder = Path(repository.tmp_dir)
    hardlink = bool(repository.config["core"].get("hardlink_lock", False))
    with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder), hardlink_lock=hardlink):
        path = folder / RWLOCK_FILE
        if path.exists() and not _register_holds(path):
            path.unlink()
            done.append("removed DVC's register of locks, which a killed run had left behind")
    with repository.lock:
        record = Path(repository.root_dir, "dvc.lock")
        if record.exists() and not _record_holds(record):
            record.unlink()
            done.append("removed dvc.lock, which a killed run had left cut short: every stage is compared anew")
    return done


def _register_holds(path: Path) -> bool:
    """Return whether the register can be read and each process it names may still be the one that wrote it."""
    try:
        register = json.loads(path.read_bytes())
    except ValueError:
        return False
    written = path.stat().st_mtime
    entries = [*register.get("write", {}).values(), *(e for some in register.get("read", {}).values() for e in some)]
    return all(_may_hold(int(entry["pid"]), written) for entry in entries if entry)


def _may_hold(process_id: int, written: float) -> bool:
    """Return whether a process was there when the register was written; another may have its number since."""
    try:
        return psutil.Process(process_id).create_time() <= written
    except psutil.NoSuchProcess:
        return True  # DVC itself removes the locks of processes that are gone
    except psutil.Error:
        return True


def _record_holds(path: Path) -> bool:
    try:
        content: Any = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError:
        return False
    return isinstance(content, dict) and isinstance(cast(dict[str, Any], content).get("stages", {}), dict)
