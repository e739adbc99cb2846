"""The lease of a workspace: one flow at a time may change it. It ends with its holder's process, however that ends.

Prefect alone cannot promise this: a killed flow run stays "Running" on its server (prefect #16746).
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from core.embedded.lock import DirectoryLock
from core.errors import UnavailableError


@contextmanager
def workspace_lease(
    workspace: Path, wait_seconds: float = 600.0, on_wait: Callable[[str], None] | None = None
) -> Generator[None]:
    """Hold the workspace; a second holder waits.

    Raises:
        UnavailableError: it was not free within ``wait_seconds``.
    """
    lock = DirectoryLock(workspace / ".dvc" / "tmp" / "lease")
    deadline = time.monotonic() + wait_seconds
    told = False
    while not lock.acquire():
        if time.monotonic() >= deadline:
            raise UnavailableError(
                f"another flow has been working in {workspace} for {wait_seconds:.0f} s: wait for its end, or cancel it"
            )
        if on_wait is not None and not told:
            on_wait(f"another flow works in {workspace}; waiting for its end")
            told = True
        time.sleep(0.2)
    try:
        yield
    finally:
        lock.release()
