"""HistData ASCII one-minute bars: ``YYYYMMDD HHMMSS;open;high;low;close;volume``, bid side.

The vendor says "EST without daylight saving"; the files follow New York local time (measured). ``data.timezone``
overrides it, with ``Etc/GMT+5`` for files that do stand still. Volume is always 0 and therefore not stored.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from core.errors import BadInputError
from data.batch import Batch
from data.granularity import parse_granularity
from data.sources.bars import OHLC, bar_values, bars_on_clock, on_zone
from data.sources.files import list_files, pair_in, read_bytes, read_zip_member, require_found, require_path
from data.sources.interface import LoadOptions
from data.tables import Layout, read_text

_LAYOUT = Layout(
    "HistData ASCII M1 (YYYYMMDD HHMMSS;open;high;low;close;volume)",
    ("time", *OHLC, "volume"),
    stamps=("time",),
    delimiter=";",
)


class HistdataSource:
    """HistData one-minute files."""

    name = "histdata"
    description = "HistData ASCII M1 bars (bid), a csv or zip file or a folder of them"

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
        files = [(_instrument(file, instruments), file) for file in list_files(root, (".csv", ".zip"), self.name)]
        require_found((instrument for instrument, _ in files), instruments, root, self.name)
        for instrument, file in sorted(files, key=lambda item: (item[0], item[1].name)):
            if instruments and instrument not in instruments:
                continue
            content = read_zip_member(file)[1] if file.suffix.lower() == ".zip" else read_bytes(file)
            text = read_text(content, _LAYOUT, str(file))
            values = bar_values(len(text.line), {f"bid_{name}": text.numbers[name] for name in OHLC})
            zone = options.timezone or "America/New_York"
            yield bars_on_clock(
                instrument,
                parse_granularity("M1"),
                self.name,
                file.name,
                on_zone(text.stamps["time"], zone),
                values,
                text,
                ("bid side only",),
            ).between(since_ns, until_ns)


def _instrument(file: Path, instruments: Sequence[str]) -> str:
    found = pair_in(file.stem)
    if found is None and len(instruments) == 1:
        return instruments[0]
    if found is None:
        raise BadInputError(f"{file.name} names no pair: call it DAT_ASCII_EURUSD_M1_201701.csv or name one instrument")
    return found
