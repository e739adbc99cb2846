"""Write small market files in the formats of the sources, as their vendors write them."""

import io
import lzma
import struct
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

HOUR_NS = 3600 * 10**9


def trading_hours(start: datetime, count: int) -> list[datetime]:
    """Return the first hours from ``start`` on (UTC) at which the market is open, weekends left out."""
    from data.calendar import ForexCalendar

    first = int(start.replace(tzinfo=UTC).timestamp()) * 10**9
    starts = ForexCalendar().expected_starts(first, first + (count + 400) * HOUR_NS, HOUR_NS)[:count]
    return [datetime.fromtimestamp(int(moment) // 10**9, UTC) for moment in starts]


def walk(count: int, seed: int = 1, start: float = 1.1) -> np.ndarray:
    """Return a positive random walk rounded to five decimals."""
    steps = np.random.default_rng(seed).normal(0, 5e-4, count)
    return np.round(start * np.exp(np.cumsum(steps)), 5)


def ohlc_rows(close: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Return consistent OHLC rows whose closes are given."""
    opening = np.r_[close[0], close[:-1]]
    high, low = np.maximum(opening, close) + 0.0002, np.minimum(opening, close) - 0.0002
    return [tuple(round(float(v), 5) for v in row) for row in zip(opening, high, low, close, strict=True)]  # type: ignore[misc]


def zip_file(path: Path, member: str, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, text)
    path.write_bytes(buffer.getvalue())
    return path


def lean_hours(
    folder: Path, count: int = 300, market: str = "oanda", crossed: Sequence[int] = (), seed: int = 1
) -> Path:
    """Write ``<market>/hour/nzdusd.zip`` with a spread of one pip; ``crossed`` rows have the sides exchanged."""
    lines = []
    rows = ohlc_rows(walk(count, seed))
    for index, (moment, row) in enumerate(zip(trading_hours(datetime(2015, 1, 5), count), rows, strict=True)):
        bid, ask = row, tuple(round(v + 0.0001, 5) for v in row)
        if index in crossed:
            bid, ask = ask, bid
        numbers = ",".join(f"{v:g}" for v in (*bid, 0, *ask, 0))
        lines.append(f"{moment:%Y%m%d %H:%M},{numbers}")
    return zip_file(folder / market / "hour" / "nzdusd.zip", "nzdusd.csv", "\n".join(lines) + "\n")


def lean_ticks(folder: Path, days: Sequence[str], per_day: int = 500, market: str = "oanda") -> Path:
    """Write ``<market>/tick/eurusd/<day>_quote.zip`` for some days."""
    for number, day in enumerate(days):
        generator = np.random.default_rng(number)
        stamps = np.sort(generator.integers(0, 86_400_000, per_day))
        bids = walk(per_day, number)
        text = "".join(f"{ms},{bid:.5f},{bid + 0.00012:.5f}\n" for ms, bid in zip(stamps, bids, strict=True))
        zip_file(folder / market / "tick" / "eurusd" / f"{day}_quote.zip", f"{day}_eurusd_tick_quote.csv", text)
    return folder / market / "tick" / "eurusd"


def histdata(path: Path, start: datetime, count: int = 200) -> Path:
    """Write one-minute bars on a New York wall clock from ``start``."""
    lines = []
    for index, row in enumerate(ohlc_rows(walk(count))):
        moment = start + timedelta(minutes=index)
        lines.append(f"{moment:%Y%m%d %H%M%S};" + ";".join(f"{v:.6f}" for v in row) + ";0")
    path.write_text("\n".join(lines) + "\n")
    return path


def metatrader(path: Path, moments: Sequence[datetime], points: bool = True, noise: bool = True) -> Path:
    """Write hourly bars; with ``noise`` some points carry the float noise of the real files."""
    lines = ["Date,open,high,low,close,tick_volume"]
    for index, (moment, row) in enumerate(zip(moments, ohlc_rows(walk(len(moments), start=1.3)), strict=True)):
        if points:
            prices = [f"{round(v * 1e5)}.0" for v in row]
            if noise and index % 7 == 0:
                prices[0] = f"{round(row[0] * 1e5)}.00000000001"
        else:
            prices = [f"{v:.5f}" for v in row]
        lines.append(f"{moment:%Y-%m-%d %H:%M:%S},{','.join(prices)},{100 + index}")
    path.write_text("\n".join(lines) + "\n")
    return path


def dukascopy_ticks(root: Path, day: date, hour: int, ticks: Sequence[tuple[int, int, int]]) -> Path:
    """Write ``(ms, ask points, bid points)`` ticks of an hour; the month of the folder counts from 00."""
    folder = root / "EURUSD" / f"{day.year}" / f"{day.month - 1:02d}" / f"{day.day:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    records = b"".join(struct.pack(">IIIff", ms, ask, bid, 1.5, 0.75) for ms, ask, bid in ticks)
    path = folder / f"{hour:02d}h_ticks.bi5"
    path.write_bytes(lzma.compress(records, format=lzma.FORMAT_ALONE))
    return path


def ecb_csv(path: Path, days: int = 40, first: date = date(2015, 3, 2)) -> Path:
    """Write reference rates of the TARGET days from ``first``, newest first, with the trailing comma."""
    from data.calendar import target_days

    numbers = target_days(first, first + timedelta(days=days)).tolist()
    usd, jpy, gbp = walk(len(numbers), 1), walk(len(numbers), 2, 130.0), walk(len(numbers), 3, 0.72)
    lines = [
        f"{date(1970, 1, 1) + timedelta(days=day)},{usd[i]:.4f},{jpy[i]:.2f},{gbp[i]:.5f},N/A,"
        for i, day in enumerate(numbers)
    ]
    path.write_text("\n".join(["Date,USD,JPY,GBP,HRK,", *reversed(lines)]) + "\n")
    return path
