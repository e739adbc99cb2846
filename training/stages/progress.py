"""Progress lines on stderr."""

import sys
import time


class Progress:
    """Writes ``stage: message (seconds)`` lines."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._start = time.perf_counter()

    def __call__(self, message: str) -> None:
        seconds = time.perf_counter() - self._start
        sys.stderr.write(f"{self._stage}: {message} ({seconds:.1f} s)\n")
        sys.stderr.flush()
