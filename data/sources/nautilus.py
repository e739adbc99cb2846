"""One-minute bars in two files, bid and ask: ``gbpusd-m1-bid-2012.csv`` beside ``gbpusd-m1-ask-2012.csv``.

``timestamp,open,high,low,close`` with ISO 8601 stamps in UTC, as in the test data of nautilus_trader. A minute that
only one side has keeps NaN on the other side and says so.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.errors import BadInputError
from data.batch import Batch, Reject
from data.granularity import parse_granularity
from data.sources.bars import OHLC, bar_values, bars_on_clock, on_zone
from data.sources.files import list_files, pair_in, read_bytes, require_found, require_path
from data.sources.interface import LoadOptions
from data.tables import Layout, TextColumns, read_text

_LAYOUT = Layout("bars (timestamp,open,high,low,close)", ("timestamp", *OHLC), stamps=("timestamp",), header=True)
_SIDE = re.compile(r"(?<![a-z])(bid|ask)(?![a-z])", re.IGNORECASE)


class NautilusSource:
    """Bid and ask bars in a pair of csv files."""

    name = "nautilus"
    description = "M1 csv bars in a bid file and an ask file (UTC), a folder or either file of the pair"

    def load(
        self,
        path: Path | None,
        instruments: Sequence[str],
        since_ns: int | None,
        until_ns: int | None,
        options: LoadOptions,
    ) -> Iterator[Batch]:
        """Yield one batch a pair of files; see ``Source.load``."""
        root = require_path(path, self.name)
        pairs: dict[tuple[str, Path], dict[str, Path]] = {}
        for file in list_files(root, (".csv",), self.name):
            side = _SIDE.search(file.stem)
            if side is None:
                raise BadInputError(
                    f"{file.name} is neither a bid nor an ask file: call it like gbpusd-m1-bid-2012.csv"
                )
            for word in ("bid", "ask"):
                beside = file.with_name(_SIDE.sub(word, file.name, count=1))
                if beside.is_file():
                    key = (_instrument(file, instruments), file.with_name(_SIDE.sub("*", file.name, count=1)))
                    pairs.setdefault(key, {})[word] = beside
        require_found((instrument for instrument, _ in pairs), instruments, root, self.name)
        for (instrument, _), files in sorted(pairs.items(), key=lambda item: (item[0][0], item[0][1].name)):
            if not instruments or instrument in instruments:
                yield _load(instrument, files, options.timezone or "UTC").between(since_ns, until_ns)


def _instrument(file: Path, instruments: Sequence[str]) -> str:
    found = pair_in(file.stem) or (instruments[0] if len(instruments) == 1 else None)
    if found is None:
        raise BadInputError(f"{file.name} names no pair: call it like gbpusd-m1-bid-2012.csv or name one instrument")
    return found


def _load(instrument: str, files: dict[str, Path], zone: str) -> Batch:
    sides = {side: read_text(read_bytes(file), _LAYOUT, str(file)) for side, file in sorted(files.items())}
    origin = " + ".join(file.name for _, file in sorted(files.items()))
    rejects = tuple(reject for text in sides.values() for reject in text.rejects)
    stamps = np.unique(np.concatenate([text.stamps["timestamp"] for text in sides.values()]))
    columns: dict[str, np.ndarray] = {}
    repeated: list[Reject] = []
    one_sided = 0
    for side, text in sides.items():
        first = _first_of_each(text)
        repeated += [
            Reject(str(files[side]), int(row), "duplicate", "stamp appears again in the same file")
            for row in text.line[~first].tolist()
        ]
        position = np.searchsorted(stamps, text.stamps["timestamp"][first])
        one_sided += len(stamps) - len(position)
        for name in OHLC:
            column = np.full(len(stamps), np.nan)
            column[position] = text.numbers[name][first]
            columns[f"{side}_{name}"] = column
    rows = np.arange(2, len(stamps) + 2, dtype=np.int64)
    joined = TextColumns({}, {}, {}, rows, ())
    notes = ("bid and ask files",) if len(sides) == 2 else (f"{next(iter(sides))} side only",)
    if one_sided and len(sides) == 2:
        notes = (*notes, f"{one_sided} minutes have one side only")
    values = bar_values(len(stamps), columns)
    clock = on_zone(stamps, zone)
    batch = bars_on_clock(instrument, parse_granularity("M1"), "nautilus", origin, clock, values, joined, notes)
    return replace(batch, rejects=(*rejects, *repeated, *batch.rejects))


def _first_of_each(text: TextColumns) -> np.ndarray:
    _, index = np.unique(text.stamps["timestamp"], return_index=True)
    first = np.zeros(len(text.line), bool)
    first[index] = True
    return first
