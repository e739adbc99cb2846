"""TrueFX ticks: ``EUR/USD,20090501 00:00:00.000,1.3238,1.32395`` without a header, or ``timestamp,bid,ask`` with one.

Stamps are UTC; some lack the fraction of a second.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.domain import normalise_name
from core.errors import BadInputError
from data.batch import QUOTE_COLUMNS, Batch
from data.granularity import TICK
from data.sources.bars import without
from data.sources.files import list_files, pair_in, read_bytes, read_zip_member, require_found, require_path
from data.sources.interface import LoadOptions
from data.tables import Layout, TextColumns, read_text
from data.timezones import wall_clock

_NAMED = Layout("TrueFX ticks (timestamp,bid,ask)", ("timestamp", "bid", "ask"), stamps=("timestamp",), header=True)
_PLAIN = Layout(
    "TrueFX ticks (EUR/USD,YYYYMMDD hh:mm:ss.fff,bid,ask)",
    ("pair", "timestamp", "bid", "ask"),
    stamps=("timestamp",),
    texts=("pair",),
)


class TruefxSource:
    """TrueFX tick files."""

    name = "truefx"
    description = "TrueFX csv ticks (bid and ask, UTC), a csv or zip file or a folder of them"

    def load(
        self,
        path: Path | None,
        instruments: Sequence[str],
        since_ns: int | None,
        until_ns: int | None,
        options: LoadOptions,
    ) -> Iterator[Batch]:
        """Yield one batch a file; see ``Source.load``."""
        root = require_path(path, self.name)
        files: list[tuple[str, Path]] = []
        for file in list_files(root, (".csv", ".zip"), self.name):
            found = pair_in(file.stem) or (instruments[0] if len(instruments) == 1 else None)
            if found is None:
                raise BadInputError(
                    f"{file.name} names no pair: call it like EURUSD-2009-05.csv or name one instrument"
                )
            files.append((found, file))
        require_found((instrument for instrument, _ in files), instruments, root, self.name)
        for instrument, file in sorted(files, key=lambda item: (item[0], item[1].name)):
            if not instruments or instrument in instruments:
                yield _load(instrument, file, options.timezone or "UTC").between(since_ns, until_ns)


def _load(instrument: str, file: Path, zone: str) -> Batch:
    content = read_zip_member(file)[1] if file.suffix.lower() == ".zip" else read_bytes(file)
    named = content[:64].lstrip().lower().startswith(b"timestamp")
    text = read_text(content, _NAMED if named else _PLAIN, str(file))
    if not named:
        _check_pair(text, instrument, file)
    time_ns, skipped = wall_clock(zone).utc(text.stamps["timestamp"])
    values = np.full((len(time_ns), len(QUOTE_COLUMNS)), np.nan)
    values[:, 0], values[:, 1] = text.numbers["bid"], text.numbers["ask"]
    batch = Batch(instrument, TICK, "truefx", file.name, time_ns, time_ns, time_ns, values, text.line)
    batch = replace(batch, rejects=text.rejects, notes=(f"clock {zone}",))
    return without(batch, skipped, "impossible_time", f"skipped by the clock of {zone}")


def _check_pair(text: TextColumns, instrument: str, file: Path) -> None:
    for written in sorted(set(text.texts["pair"])):
        if normalise_name(written) != instrument:
            raise BadInputError(f"{file.name} holds quotes of {written} where {instrument} was expected")
