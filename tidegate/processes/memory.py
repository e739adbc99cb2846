"""Memory of process trees as proportional set size: shared pages count once, so that sums mean something."""

from collections.abc import Iterable
from pathlib import Path

from core.embedded.guardian import descendants


def proportional_set_size(pids: Iterable[int]) -> int:
    """Return the PSS of the processes in bytes; those that ended, or belong to others, count nothing."""
    total = 0
    for pid in set(pids):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


def tree(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    return [root, *descendants(root)]
