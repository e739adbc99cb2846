"""What a desk needs of a journal: the writer implements it, and a replay that compares instead of writing."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Appender(Protocol):
    """Takes entries in order."""

    def append(self, kind: str, payload: bytes, time_ns: int, durable: bool = False) -> int:
        """Add an entry and return its sequence; with ``durable`` it is on disk when this returns."""
        ...

    def append_run(
        self, kind: str, times: "NDArray[np.int64]", payloads: "NDArray[np.uint8]", sizes: "NDArray[np.int64]"
    ) -> None:
        """Add many entries of one kind that nobody waits for; each payload is the first ``sizes`` bytes of its row."""
        ...

    def flush(self) -> None:
        """Make what was appended survive the death of this process."""
        ...
