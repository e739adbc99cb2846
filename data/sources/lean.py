"""LEAN quote files: ``<market>/<resolution>/<symbol>/<YYYYMMDD>_quote.zip`` and ``<market>/<resolution>/<symbol>.zip``.

The clocks are measured against each other, not taken from documentation: OANDA files are in UTC. FXCM files are at a
fixed UTC−05:00, except hour bars before 2009-09-20, which went through a New York conversion twice and stand five hours
behind New York local time (UTC−10 in winter, UTC−09 in summer).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS
from core.errors import BadInputError
from data.batch import QUOTE_COLUMNS, Batch, Reject
from data.granularity import DAILY, DAY, HOUR, TICK, Granularity, parse_granularity
from data.sources.files import list_files, pair_in, read_zip_member, require_found, require_path
from data.sources.interface import LoadOptions
from data.tables import Layout, TextColumns, read_text
from data.timezones import wall_clock

_RESOLUTIONS = {
    "tick": TICK,
    "second": parse_granularity("S1"),
    "minute": parse_granularity("M1"),
    "hour": parse_granularity("H1"),
    "daily": DAILY,
}
_PRICES = ("bid_open", "bid_high", "bid_low", "bid_close", "bid_size", "ask_open", "ask_high", "ask_low", "ask_close")
_DAY_FILE = re.compile(r"(\d{8})_quote")
_TICKS = Layout("LEAN quote ticks (ms,bid,ask)", ("ms", "bid", "ask"))
_DAY_BARS = Layout("LEAN quote bars (ms, bid OHLC and size, ask OHLC and size)", ("ms", *_PRICES, "ask_size"))
_LONG_BARS = Layout(
    "LEAN quote bars (YYYYMMDD HH:MM, bid OHLC and size, ask OHLC and size)",
    ("time", *_PRICES, "ask_size"),
    stamps=("time",),
)
_FXCM_CLOCK = "Etc/GMT+5"  # POSIX sign: five hours behind UTC
_FXCM_HOURS_FIXED_FROM = 1_253_404_800 * 10**9  # 2009-09-20 00:00 on the clock of the file, a Sunday


@dataclass(frozen=True)
class _File:
    path: Path
    instrument: str
    granularity: Granularity
    market: str
    day: str | None  # YYYYMMDD of files that hold one day


class LeanSource:
    """Quote bars and ticks of the LEAN engine's data folder, brokers OANDA and FXCM."""

    name = "lean"
    description = "LEAN quote zips: tick, second, minute, hour, daily (OANDA and FXCM), a file or a folder"

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
        files = [_describe(file, root) for file in list_files(root, (".zip",), self.name)]
        require_found((file.instrument for file in files), instruments, root, self.name)
        wanted = [file for file in files if not instruments or file.instrument in instruments]
        wanted = _choose(wanted, options.granularity, root)
        for file in sorted(wanted, key=lambda f: (f.instrument, f.granularity.name, f.market, f.day or "")):
            if _outside(file, since_ns, until_ns):
                continue
            yield _load(file, options.timezone).between(since_ns, until_ns)


def _describe(path: Path, root: Path) -> _File:
    parts = [part.lower() for part in path.absolute().parts]
    day = _DAY_FILE.fullmatch(path.stem)
    instrument = pair_in(path.stem) if day is None else pair_in(path.parent.name)
    resolution = next((part for part in reversed(parts[:-1]) if part in _RESOLUTIONS), None)
    if instrument is None or resolution is None:
        member, content = read_zip_member(path)  # a file taken out of its folder: its content has to say
        instrument = instrument or pair_in(Path(member).stem)
        resolution = resolution or _guess_resolution(member, content)
        if day is None and (stamped := re.match(r"(\d{8})_", member)):
            day = stamped
    if instrument is None or resolution is None:
        raise BadInputError(f"{path} is not a LEAN quote file: its name and folders give no pair and no resolution")
    market = "fxcm" if "fxcm" in parts else "oanda"
    if resolution in ("tick", "second", "minute") and day is None:
        raise BadInputError(f"{path} is not a LEAN {resolution} file: its name has no day (YYYYMMDD_quote.zip)")
    long_bars = resolution in ("hour", "daily")
    return _File(path, instrument, _RESOLUTIONS[resolution], market, None if long_bars or day is None else day[1])


def _guess_resolution(member: str, content: bytes) -> str | None:
    """Return the resolution a member's name says, or that its first two rows show."""
    for word in _RESOLUTIONS:
        if f"_{word}_" in member.lower():
            return word
    rows = content.split(b"\n", 2)
    if len(rows) > 1 and re.match(rb"\d{8} \d{2}:\d{2},", rows[0]):
        return "daily" if rows[0][9:14] == rows[1][9:14] else "hour"
    return None


def _choose(files: list[_File], granularity: str | None, root: Path) -> list[_File]:
    """Return the files of the granularity asked for, or of the coarsest one that it can be made from."""
    markets = {file.market for file in files}
    if len(markets) > 1:
        raise BadInputError(f"{root} holds quotes of {' and '.join(sorted(markets))}: set data.path to one of them")
    there = sorted({file.granularity for file in files}, key=lambda g: g.length_ns)
    if granularity is None:
        if len(there) > 1:
            words = ", ".join(g.name for g in there)
            raise BadInputError(f"{root} holds the granularities {words}: choose one with data.granularity")
        return files
    target = parse_granularity(granularity)
    usable = [g for g in there if g == target or (g.length_ns < target.length_ns and not target.is_quote)]
    if not usable:
        words = ", ".join(g.name for g in there)
        raise BadInputError(f"{root} holds {words}, from which no {granularity} can be made")
    return [file for file in files if file.granularity == usable[-1]]


def _outside(file: _File, since_ns: int | None, until_ns: int | None) -> bool:
    """Say whether a day file cannot touch the range, with a day to spare for clocks."""
    if file.day is None:
        return False
    start = _midnight(file.day, file.path)
    return (since_ns is not None and start + 2 * DAY < since_ns) or (until_ns is not None and start - DAY >= until_ns)


def _midnight(day: str, path: Path) -> int:
    try:
        return int(np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}", "D").astype(np.int64)) * DAY
    except ValueError:
        raise BadInputError(f"{path} names no day: {day}") from None


def _load(file: _File, timezone: str | None) -> Batch:
    _, content = read_zip_member(file.path)
    origin = f"{file.path.parent.name}/{file.path.name}"
    if file.granularity.is_quote:
        columns, layout = read_text(content, _TICKS, str(file.path)), QUOTE_COLUMNS
    elif file.day is not None:
        columns, layout = read_text(content, _DAY_BARS, str(file.path)), INPUT_COLUMNS
    else:
        columns, layout = read_text(content, _LONG_BARS, str(file.path)), INPUT_COLUMNS
    if file.day is not None:
        milliseconds = columns.numbers["ms"]
        # XAUUSD stamps carry fractions of a millisecond down to 100 ns; those digits are all a double has to keep.
        local = _midnight(file.day, file.path) + np.round(milliseconds * 1e6).astype(np.int64)
    else:
        local = columns.stamps["time"]
    start, skipped, notes = _to_utc(local, file, timezone)
    if file.day is not None:
        skipped |= (columns.numbers["ms"] < 0) | (columns.numbers["ms"] >= DAY / 1e6)
    values = np.full((len(start), len(layout)), np.nan)
    for index, name in enumerate(layout):
        # Sizes are always 0 in these files: no size was recorded, so none is stored.
        if name in columns.numbers and not name.endswith("_size"):
            values[:, index] = columns.numbers[name]
    end = start + file.granularity.length_ns
    rejects = columns.rejects + _impossible(columns, skipped, str(file.path))
    batch = Batch(
        file.instrument,
        file.granularity,
        "lean",
        origin,
        start,
        end,
        end,
        values,
        columns.line,
        rejects=rejects,
        notes=(f"LEAN {file.market.upper()}", *notes),
    )
    return batch.take(~skipped) if skipped.any() else batch


def _impossible(columns: TextColumns, skipped: NDArray[np.bool_], origin: str) -> tuple[Reject, ...]:
    return tuple(
        Reject(origin, int(columns.line[position]), "impossible_time", "outside its day or skipped by its clock")
        for position in np.flatnonzero(skipped).tolist()
    )


def _to_utc(
    local: NDArray[np.int64], file: _File, timezone: str | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_], tuple[str, ...]]:
    if timezone is not None:
        utc, skipped = wall_clock(timezone).utc(local)
        return utc, skipped, (f"clock given: {timezone}",)
    if file.market == "oanda":
        return local, np.zeros(len(local), bool), ("clock UTC",)
    utc, skipped = wall_clock(_FXCM_CLOCK).utc(local)
    early = local < _FXCM_HOURS_FIXED_FROM
    if not early.any():
        return utc, skipped, ("clock UTC-05:00",)
    if file.granularity.length_ns != HOUR:
        return utc, skipped, ("clock UTC-05:00, not measured before 2009-09-20 for this resolution",)
    twice, twice_skipped = wall_clock("America/New_York").utc(local + 5 * HOUR)
    note = "clock UTC-05:00, before 2009-09-20 five hours behind New York"
    return np.where(early, twice, utc), np.where(early, twice_skipped, skipped), (note,)
