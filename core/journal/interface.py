"""What a desk needs of a journal: the writer implements it, and a replay that compares instead of writing."""

from typing import Protocol


class Appender(Protocol):
    """Takes entries in order."""

    def append(self, kind: str, payload: bytes, time_ns: int, durable: bool = False) -> int:
        """Add an entry and return its sequence; with ``durable`` it is on disk when this returns."""
        ...

    def flush(self) -> None:
        """Make what was appended survive the death of this process."""
        ...
