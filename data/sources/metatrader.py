"""MetaTrader-style bars: ``Date,open,high,low,close,tick_volume``, bid side, on the broker's clock.

Prices are integers in points (with float noise such as ``103428.00000000001``) or plain decimals. The clock measured
for these files keeps European daylight saving and moved by one hour at the weekend after 2014-11-21: UTC+1/+2 before,
UTC+2/+3 since. ``data.timezone`` names another broker's clock.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.domain import default_instrument
from core.errors import BadInputError
from data.batch import Batch
from data.granularity import Granularity, parse_granularity
from data.sources.bars import OHLC, bar_values, bars_on_clock, on_zone, without
from data.sources.files import list_files, pair_in, read_bytes, require_found, require_path
from data.sources.interface import LoadOptions
from data.tables import Layout, TextColumns, read_text

_LAYOUT = Layout(
    "MetaTrader-style bars (Date,open,high,low,close,tick_volume)",
    ("Date", *OHLC, "tick_volume"),
    stamps=("Date",),
    header=True,
)
_CLOCK_BEFORE, _CLOCK_SINCE = "Europe/Berlin", "Europe/Athens"
_CLOCK_CHANGE = 1_416_614_400 * 10**9  # 2014-11-22 00:00 on the wall, inside the weekend
_NOISE = 1e-6  # of a point
_FRAME = re.compile(r"(m1|m5|m15|m30|h1|h4|d1)(?![0-9a-z])", re.IGNORECASE)


class MetatraderSource:
    """Bars exported from a MetaTrader terminal."""

    name = "metatrader"
    description = "MetaTrader-style csv bars (bid, points or decimals, broker clock), a file or a folder"

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
        for file in list_files(root, (".csv",), self.name):
            found = pair_in(file.stem) or (instruments[0] if len(instruments) == 1 else None)
            if found is None:
                raise BadInputError(f"{file.name} names no pair: call it like GBPUSDh1.csv or name one instrument")
            files.append((found, file))
        require_found((instrument for instrument, _ in files), instruments, root, self.name)
        for instrument, file in sorted(files, key=lambda item: (item[0], item[1].name)):
            if not instruments or instrument in instruments:
                batch = _load(instrument, file, options.timezone)
                yield batch.between(since_ns, until_ns)


def _load(instrument: str, file: Path, timezone: str | None) -> Batch:
    text = read_text(read_bytes(file), _LAYOUT, str(file))
    local = text.stamps["Date"]
    granularity = _granularity(file, local)
    columns, fractional, unit = _prices(instrument, text)
    columns["tick_volume"] = text.numbers["tick_volume"]
    values = bar_values(len(local), columns)
    notes = ("bid side only", f"prices in {unit}")
    clock = _measured_clock(local) if timezone is None else on_zone(local, timezone)
    batch = bars_on_clock(instrument, granularity, "metatrader", file.name, clock, values, text, notes)
    fractional = fractional[np.isin(text.line, batch.row)]
    return without(batch, fractional, "fraction_of_a_point", "price is no whole number of points")


def _measured_clock(local: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], str]:
    """Return UTC with the clock change of 2014-11-22 undone."""
    before, skipped_before, _ = on_zone(local, _CLOCK_BEFORE)
    since, skipped_since, _ = on_zone(local, _CLOCK_SINCE)
    early = local < _CLOCK_CHANGE
    words = f"{_CLOCK_BEFORE} until 2014-11-21, then {_CLOCK_SINCE}"
    return np.where(early, before, since), np.where(early, skipped_before, skipped_since), words


def _granularity(file: Path, local: NDArray[np.int64]) -> Granularity:
    """Return what the name says (``h1``), else the commonest step between rows."""
    match = _FRAME.search(file.stem)
    if match:
        name = match[1].upper()
        return parse_granularity("D" if name == "D1" else name)
    if len(local) < 2:
        raise BadInputError(f"{file.name} does not say how long its bars are: call it like GBPUSDh1.csv")
    steps, counts = np.unique(np.diff(local), return_counts=True)
    seconds = int(steps[np.argmax(counts)]) // 10**9
    names = {60: "M1", 300: "M5", 900: "M15", 1800: "M30", 3600: "H1", 14_400: "H4", 86_400: "D"}
    if seconds not in names:
        raise BadInputError(
            f"{file.name} has rows {seconds} s apart, which is no bar length: call it like GBPUSDh1.csv"
        )
    return parse_granularity(names[seconds])


def _prices(instrument: str, text: TextColumns) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_], str]:
    """Return bid OHLC in quote currency, which rows hold a fraction of a point, and the unit of the file.

    Files in points hold whole numbers on nearly every row; files in decimals on nearly none.
    """
    written = np.column_stack([text.numbers[name] for name in OHLC])
    whole = np.abs(written - np.round(written)) < _NOISE * np.maximum(np.abs(written), 1.0)
    if np.mean(whole.all(axis=1)) > 0.5 and np.median(written) >= 1000:
        scale = 10.0 ** default_instrument(instrument).display_precision
        prices = np.round(written) / scale
        return {f"bid_{n}": prices[:, i] for i, n in enumerate(OHLC)}, np.asarray(~whole.all(axis=1), bool), "points"
    return {f"bid_{n}": written[:, i] for i, n in enumerate(OHLC)}, np.zeros(len(written), bool), "decimals"
