"""What every source of market data offers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from data.batch import Batch


class LoadOptions(msgspec.Struct, frozen=True):
    """What a format does not say by itself.

    ``timezone`` is the clock of the file where it differs from the one measured for the format; ``granularity`` picks
    one series where a folder holds several.
    """

    timezone: str | None = None
    granularity: str | None = None


class Source(Protocol):
    """One format or vendor of market data."""

    @property
    def name(self) -> str:
        """The word used in ``params.yaml`` and on the command line."""
        ...

    @property
    def description(self) -> str:
        """One line for people: what it reads."""
        ...

    def load(
        self,
        path: Path | None,
        instruments: Sequence[str],
        since_ns: int | None,
        until_ns: int | None,
        options: LoadOptions,
    ) -> Iterator[Batch]:
        """Yield the rows of some instruments with ``since_ns <= event time < until_ns``, one batch a file or series.

        Batches of one instrument and granularity come one after another, oldest first.

        Raises:
            BadInputError: a file is missing, of another format, truncated or empty, or an instrument is not there.
        """
        ...
