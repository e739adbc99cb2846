"""Dukascopy ``.bi5``: LZMA streams of big-endian records, below ``<PAIR>/<year>/<month from 00>/<day>/``.

``HHh_ticks.bi5``: 20-byte records ``u32 ms in the hour, u32 ask, u32 bid, f32 ask volume, f32 bid volume`` (ask first).
``<SIDE>_candles_{min,hour,day}_1.bi5``: 24-byte records ``u32 seconds, u32 open, close, low, high, f32 volume`` (in
this order). Prices are integers in points. A file of 0 bytes is the vendor's way to say "no data".
"""

import lzma
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.domain import default_instrument
from core.errors import BadInputError
from data.batch import QUOTE_COLUMNS, Batch
from data.granularity import DAILY, DAY, HOUR, SECOND, TICK, Granularity, parse_granularity
from data.sources.bars import bar_values
from data.sources.files import list_files, pair_in, read_bytes, require_found, require_path
from data.sources.interface import LoadOptions

_TICK = np.dtype([("ms", ">u4"), ("ask", ">u4"), ("bid", ">u4"), ("ask_volume", ">f4"), ("bid_volume", ">f4")])
_CANDLE = np.dtype(
    [("second", ">u4"), ("open", ">u4"), ("close", ">u4"), ("low", ">u4"), ("high", ">u4"), ("volume", ">f4")]
)
_HOUR_FILE = re.compile(r"(\d{2})h_ticks\.bi5")
_CANDLE_FILE = re.compile(r"(BID|ASK)_candles_(min|hour|day)_1\.bi5")
_CANDLES = {"min": parse_granularity("M1"), "hour": parse_granularity("H1"), "day": DAILY}
_PATH_PARTS = {"ticks": 3, "min": 3, "hour": 2, "day": 1}  # year, month, day of the folders above the file
_LIMIT = 256 * 1024 * 1024  # no hour, day or year of one pair comes near it


@dataclass(frozen=True)
class _File:
    path: Path
    instrument: str
    granularity: Granularity
    side: str  # "bid" or "ask" for candles
    start_ns: int


class DukascopySource:
    """Dukascopy tick and candle files, with the folders that date them."""

    name = "dukascopy"
    description = "Dukascopy .bi5 ticks and candles, in their folders <PAIR>/<year>/<month from 00>/<day>"

    def load(
        self,
        path: Path | None,
        instruments: Sequence[str],
        since_ns: int | None,
        until_ns: int | None,
        options: LoadOptions,
    ) -> Iterator[Batch]:
        """Yield one batch a file, none for a file of 0 bytes; see ``Source.load``."""
        root = require_path(path, self.name)
        listed = list_files(root, (".bi5",), self.name)
        # A 0-byte file is "no data" wherever it lies, so it need not be in a dated folder.
        files = [_describe(file) for file in listed if file.stat().st_size]
        if not files:
            return
        require_found((file.instrument for file in files), instruments, root, self.name)
        wanted = [file for file in files if not instruments or file.instrument in instruments]
        for file in _choose(wanted, options.granularity, root):
            yield _load(file).between(since_ns, until_ns)


def _describe(path: Path) -> _File:
    ticks, candles = _HOUR_FILE.fullmatch(path.name), _CANDLE_FILE.fullmatch(path.name)
    kind = "ticks" if ticks else candles[2] if candles else None
    if kind is None:
        raise BadInputError(f"{path} is not a Dukascopy file: its name is neither 07h_ticks nor BID_candles_min_1")
    folders = path.absolute().parent.parts
    dated, depth = folders[-_PATH_PARTS[kind] :], _PATH_PARTS[kind]
    instrument = pair_in(folders[-depth - 1]) if len(folders) > depth else None
    if instrument is None or not all(part.isdigit() for part in dated):
        raise BadInputError(f"{path} has no date: keep its folders <PAIR>/<year>/<month from 00>/<day>")
    year, month, day = (*(int(part) for part in dated), 0, 1)[:3] if depth == 1 else (*(int(p) for p in dated), 1)[:3]
    try:
        midnight = int(np.datetime64(f"{year:04d}-{month + 1:02d}-{day:02d}", "D").astype(np.int64)) * DAY
    except ValueError:
        raise BadInputError(f"{path} names no date: months count from 00, days from 01") from None
    if ticks and int(ticks[1]) > 23:
        raise BadInputError(f"{path} names no hour: {ticks[1]}")
    start = midnight + (int(ticks[1]) * HOUR if ticks else 0)
    granularity = TICK if kind == "ticks" else _CANDLES[kind]
    return _File(path, instrument, granularity, candles[1].lower() if candles else "", start)


def _choose(files: list[_File], granularity: str | None, root: Path) -> list[_File]:
    there = sorted({file.granularity for file in files}, key=lambda g: g.length_ns)
    chosen = there[-1]
    if granularity is None and len(there) > 1:
        words = ", ".join(g.name for g in there)
        raise BadInputError(f"{root} holds the granularities {words}: choose one with data.granularity")
    if granularity is not None:
        target = parse_granularity(granularity)
        usable = [g for g in there if g == target or (g.length_ns < target.length_ns and not target.is_quote)]
        if not usable:
            raise BadInputError(f"{root} holds {', '.join(g.name for g in there)}, from which no {granularity} is made")
        chosen = usable[-1]
    sides = {file.side for file in files if file.granularity == chosen}
    if len(sides) > 1:
        raise BadInputError(
            f"{root} holds bid and ask candles side by side: set data.path to one side or use the ticks"
        )
    return sorted(
        (file for file in files if file.granularity == chosen), key=lambda file: (file.instrument, file.start_ns)
    )


def _decompress(path: Path, record: int) -> bytes:
    content = read_bytes(path)
    try:
        decoder = lzma.LZMADecompressor()
        plain = decoder.decompress(content, _LIMIT)
    except lzma.LZMAError as error:
        raise BadInputError(f"{path} is corrupted or no bi5 file: {error}; fetch it again") from None
    if not decoder.eof:
        raise BadInputError(f"{path} is truncated: the LZMA stream has no end; fetch it again")
    if decoder.unused_data or len(plain) % record:
        raise BadInputError(f"{path} is corrupted: {len(plain)} bytes are no whole number of {record}-byte records")
    return plain


def _load(file: _File) -> Batch:
    scale = 10.0 ** default_instrument(file.instrument).display_precision
    origin = "/".join(file.path.parts[-5:])
    if file.granularity.is_quote:
        ticks = np.frombuffer(_decompress(file.path, _TICK.itemsize), _TICK)
        _check_offsets(ticks["ms"], 3_600_000, file.path)
        values = np.empty((len(ticks), len(QUOTE_COLUMNS)))
        for index, name in enumerate(("bid", "ask")):
            values[:, index] = ticks[name] / scale
        # Volumes are in millions of the base currency, single precision.
        values[:, 2] = ticks["bid_volume"].astype(np.float64)
        values[:, 3] = ticks["ask_volume"].astype(np.float64)
        start = file.start_ns + ticks["ms"].astype(np.int64) * 1_000_000
        notes: tuple[str, ...] = ("clock UTC",)
    else:
        candles = np.frombuffer(_decompress(file.path, _CANDLE.itemsize), _CANDLE)
        spans = {"M1": DAY, "H1": 31 * DAY, "D": 366 * DAY}
        _check_offsets(candles["second"], spans[file.granularity.name] // SECOND, file.path)
        columns = {f"{file.side}_{name}": candles[name] / scale for name in ("open", "high", "low", "close")}
        # The volume is an amount traded, not a count of ticks, but 0 says that nothing was quoted at all.
        quiet = np.where(candles["volume"] == 0, 0.0, np.nan)
        values = bar_values(len(candles), {**columns, "tick_volume": quiet})
        start = file.start_ns + candles["second"].astype(np.int64) * SECOND
        notes = ("clock UTC", f"{file.side} side only")
    end = start + file.granularity.length_ns
    rows = np.arange(1, len(start) + 1, dtype=np.int64)
    return Batch(file.instrument, file.granularity, "dukascopy", origin, start, end, end, values, rows, notes=notes)


def _check_offsets(offsets: NDArray[np.uint32], limit: int, path: Path) -> None:
    if len(offsets) and int(offsets.max()) >= limit:
        raise BadInputError(
            f"{path} is corrupted: a record lies {int(offsets.max())} after a start it may be {limit} from"
        )
