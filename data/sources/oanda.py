"""OANDA v20 candles as the REST API returns them: ``{"instrument", "granularity", "candles": [...]}``.

A file holds one such answer, or wraps it (a recorded request and response). Candles may carry bid (``b``), ask (``a``)
and mid (``m``) prices; mid alone stands in both bid and ask and says so, because it hides the spread.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from core.clock import from_rfc3339
from core.domain import BarKind, normalise_name
from core.errors import BadInputError
from core.logging import get_logger
from data.batch import Batch, Reject
from data.granularity import DAY, Granularity, parse_granularity
from data.sources.bars import bar_values
from data.sources.files import list_files, read_bytes, require_found, require_path
from data.sources.interface import LoadOptions
from data.tables import MALFORMED
from data.timezones import wall_clock

_log = get_logger("data")
_PAIR = re.compile(r"[A-Za-z]{3}[_/]?[A-Za-z]{3}")
_SIDES = {"bid": "bid", "ask": "ask"}
_LETTERS = {"open": "o", "high": "h", "low": "l", "close": "c"}


class OandaSource:
    """Candles recorded from the OANDA v20 REST API."""

    name = "oanda"
    description = "OANDA v20 candle answers (json; bid, ask or mid), a file or a folder"

    def load(
        self,
        path: Path | None,
        instruments: Sequence[str],
        since_ns: int | None,
        until_ns: int | None,
        options: LoadOptions,
    ) -> Iterator[Batch]:
        """Yield one batch an answer; see ``Source.load``."""
        root = require_path(path, self.name)
        batches: list[Batch] = []
        for file in list_files(root, (".json",), self.name):
            answers = list(_answers(_parse(file), None))
            if not answers and root.is_file():
                raise BadInputError(
                    f"{file} is no v20 candles answer: it has no candles with instrument and granularity"
                )
            for answer, instrument in answers:
                if _PAIR.fullmatch(instrument):
                    batches.append(_load(answer, instrument, file))
                elif root.is_file():
                    raise BadInputError(f"{file} holds candles of {instrument}, which is no currency pair")
                else:
                    _log.warning("candles of no currency pair left out", file=str(file), instrument=instrument)
        require_found((batch.instrument for batch in batches), instruments, root, self.name)
        target = None if options.granularity is None else parse_granularity(options.granularity)
        for batch in sorted(batches, key=lambda b: (b.instrument, b.granularity.length_ns, b.origin)):
            finer = target is None or batch.granularity == target or batch.granularity.length_ns < target.length_ns
            if finer and (not instruments or batch.instrument in instruments):
                yield batch.between(since_ns, until_ns)


def _parse(file: Path) -> Any:
    content = read_bytes(file)
    if not content.strip():
        raise BadInputError(f"{file} is empty: expected a v20 candles answer")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadInputError(f"{file} is not JSON: {error}") from None


def _answers(value: Any, instrument: str | None) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield every candles answer inside a recorded value, with its instrument, at any depth."""
    if isinstance(value, list):
        for item in cast(list[Any], value):
            yield from _answers(item, instrument)
    if not isinstance(value, dict):
        return
    mapping = cast(dict[str, Any], value)
    named = mapping.get("instrument")
    instrument = named if isinstance(named, str) else instrument
    if isinstance(mapping.get("candles"), list) and isinstance(mapping.get("granularity"), str):
        if instrument is not None:
            yield mapping, instrument
        return
    for item in mapping.values():
        yield from _answers(item, instrument)


def _load(answer: Mapping[str, Any], written: str, file: Path) -> Batch:
    instrument = normalise_name(written)
    granularity = parse_granularity(str(answer["granularity"]))
    candles = cast(list[Mapping[str, Any]], answer["candles"])
    rows, rejects = _rows(candles, str(file))
    if not rows and not rejects:
        raise BadInputError(f"{file} has no candles of {instrument}")
    start = np.array([row[1] for row in rows], np.int64)
    prices = np.array([row[2] for row in rows], np.float64).reshape(len(rows), 9)
    columns = {
        f"{side}_{name}": prices[:, 4 * s + i] for s, side in enumerate(_SIDES) for i, name in enumerate(_LETTERS)
    }
    values = bar_values(len(rows), {**columns, "tick_volume": prices[:, 8]})
    end = candle_close(start, granularity)
    notes = ["clock UTC"]
    if any(row[3] for row in rows):
        notes.append("mid prices only: the spread is not in the data")
    line = np.array([row[0] for row in rows], np.int64)
    return Batch(
        instrument,
        granularity,
        "oanda",
        file.name,
        start,
        end,
        end,
        values,
        line,
        rejects=tuple(rejects),
        notes=tuple(notes),
    )


def _rows(
    candles: Sequence[Mapping[str, Any]], origin: str
) -> tuple[list[tuple[int, int, list[float], bool]], list[Reject]]:
    """Return (row, start, eight prices and volume, mid only) of whole candles, and the others as rejects."""
    rows: list[tuple[int, int, list[float], bool]] = []
    rejects: list[Reject] = []
    for number, candle in enumerate(candles, start=1):
        try:
            if candle.get("complete") is False:
                rejects.append(Reject(origin, number, "incomplete", f"candle of {candle['time']} was still open"))
                continue
            mid_only = "bid" not in candle and "ask" not in candle
            prices: list[float] = []
            for side in _SIDES:
                ohlc = candle["mid"] if mid_only else candle.get(side)
                prices += [float("nan")] * 4 if ohlc is None else [float(ohlc[letter]) for letter in _LETTERS.values()]
            time_ns = _time_ns(str(candle["time"]))
            rows.append((number, time_ns, [*prices, float(candle.get("volume", "nan"))], mid_only))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            rejects.append(Reject(origin, number, MALFORMED, f"{type(error).__name__}: {error}"[:80]))
    return rows, rejects


def _time_ns(text: str) -> int:
    """Parse either format the API offers: RFC 3339 or UNIX seconds with nine decimals."""
    if "T" in text:
        return from_rfc3339(text)
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int((fraction or "0").ljust(9, "0")[:9])


def candle_close(start: NDArray[np.int64], granularity: Granularity) -> NDArray[np.int64]:
    """Return when candles that start at ``start`` end.

    A day that begins at 17:00 New York ends at the next 17:00 there, 23 to 25 hours later; weeks and months likewise.
    """
    if granularity.length_ns < DAY or granularity.kind is BarKind.FIXING:
        return start + granularity.length_ns
    clock = wall_clock("America/New_York")
    local = clock.local(start)
    aligned = local % DAY == 17 * 3600 * 10**9
    if granularity.name == "M":
        dates = ((local + 7 * 3600 * 10**9) // DAY).astype("datetime64[D]")
        following = (dates.astype("datetime64[M]") + 1).astype("datetime64[D]").astype(np.int64)
        local_end = following * DAY - 7 * 3600 * 10**9
        end_utc = following * DAY
    else:
        local_end, end_utc = local + granularity.length_ns, start + granularity.length_ns
    return np.where(aligned, clock.utc(local_end)[0], end_utc)
