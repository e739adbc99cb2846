"""Read delimited text into columns. Rows that cannot be read become rejects with their line number and text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from core.errors import BadInputError
from data.batch import Reject
from data.stamps import parse_stamps, pc

MALFORMED = "malformed"
_SHOWN = 80  # characters of a bad row that a message repeats
_MOSTLY_BAD = 0.5  # beyond it the file is of another format, not a file with bad rows


@dataclass(frozen=True)
class Layout:
    """How a text format is written.

    Attributes:
        words: the format for a message, ``HistData ASCII M1 (YYYYMMDD HHMMSS;O;H;L;C;V)``.
        columns: names of the columns in their order.
        stamps: which columns are written times.
        texts: which columns stay text.
        delimiter: one character.
        header: whether the first line names the columns; it must then be these names.
    """

    words: str
    columns: tuple[str, ...]
    stamps: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    delimiter: str = ","
    header: bool = False


@dataclass(frozen=True)
class TextColumns:
    """The readable rows of a text file: times in ns of the file's clock, numbers as float64, texts as strings."""

    stamps: dict[str, NDArray[np.int64]]
    numbers: dict[str, NDArray[np.float64]]
    texts: dict[str, list[str]]
    line: NDArray[np.int64]
    rejects: tuple[Reject, ...]


def read_text(content: bytes, layout: Layout, origin: str) -> TextColumns:
    """Read a delimited text of a known layout.

    Raises:
        BadInputError: the text is empty or most of its rows are of another format.
    """
    if not content.strip():
        raise BadInputError(f"{origin} is empty: expected {layout.words}")
    content = _as_utf8(content)
    first_line = 1
    if layout.header:
        head, _, content = content.partition(b"\n")
        names = [
            name.strip().strip('"').lstrip("\ufeff") for name in head.decode("utf-8", "replace").split(layout.delimiter)
        ]
        if names != list(layout.columns):
            raise _wrong_format(origin, layout, 1, head.decode("utf-8", "replace"))
        first_line = 2
        if not content.strip():
            raise BadInputError(f"{origin} holds a header and no rows: expected {layout.words}")
    wrong: list[Reject] = []

    def keep_wrong(row: pa_csv.InvalidRow) -> str:
        number = -1 if row.number is None else int(row.number) + first_line - 1
        wrong.append(Reject(origin, number, MALFORMED, str(row.text)[:_SHOWN]))
        return "skip"

    numeric = [name for name in layout.columns if name not in layout.stamps and name not in layout.texts]
    try:
        table = _parse(content, layout, keep_wrong, {name: pa.float64() for name in numeric})
    except pa.ArrowInvalid:  # some field is no number: read everything as text and judge row by row
        wrong.clear()
        try:
            table = _parse(content, layout, keep_wrong, {})
        except pa.ArrowInvalid:
            raise _wrong_format(origin, layout, first_line, content[:_SHOWN].decode("latin-1")) from None
    rows = table.num_rows
    valid = np.ones(rows, bool)
    stamps: dict[str, NDArray[np.int64]] = {}
    for name in layout.stamps:
        stamps[name], real = parse_stamps(table.column(name))
        valid &= real
    numbers: dict[str, NDArray[np.float64]] = {}
    for name in numeric:
        numbers[name], real = _floats(table.column(name))
        valid &= real
    line = _line_numbers(rows, first_line, [reject.row for reject in wrong])
    for position in np.flatnonzero(~valid).tolist():
        text = layout.delimiter.join(str(table.column(name)[position].as_py()) for name in layout.columns)
        wrong.append(Reject(origin, int(line[position]), MALFORMED, text[:_SHOWN]))
    if len(wrong) > _MOSTLY_BAD * (rows + len(wrong) - int((~valid).sum())):
        worst = min(wrong, key=lambda reject: reject.row)
        raise _wrong_format(origin, layout, worst.row, worst.detail)
    return TextColumns(
        {name: values[valid] for name, values in stamps.items()},
        {name: values[valid] for name, values in numbers.items()},
        {name: _texts(table, name, valid) for name in layout.texts},
        line[valid],
        tuple(sorted(wrong, key=lambda reject: reject.row)),
    )


def _parse(
    content: bytes,
    layout: Layout,
    keep_wrong: Callable[[pa_csv.InvalidRow], str],
    types: dict[str, pa.DataType],
) -> pa.Table:
    return pa_csv.read_csv(
        pa.BufferReader(content),
        # One thread: only then does a wrong row know its number, and the order of the rejects is fixed.
        read_options=pa_csv.ReadOptions(column_names=list(layout.columns), use_threads=False),
        parse_options=pa_csv.ParseOptions(delimiter=layout.delimiter, invalid_row_handler=keep_wrong),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: types.get(name, pa.string()) for name in layout.columns}, strings_can_be_null=False
        ),
    )


def _as_utf8(content: bytes) -> bytes:
    """Return text that Arrow can read: what is no UTF-8 is taken byte by byte, to be refused row by row."""
    if content.isascii():
        return content
    try:
        content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1").encode()
    return content


def _floats(column: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return numbers and which rows are one; an empty field is not."""
    if not pa.types.is_floating(column.type):
        text = pc.utf8_trim_whitespace(column)
        shaped = pc.match_substring_regex(text, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
        column = pc.if_else(shaped, text, pa.scalar(None, pa.string())).cast(pa.float64())
    values = np.asarray(column.to_numpy(), np.float64)
    return values, np.isfinite(values)


def _texts(table: pa.Table, name: str, valid: NDArray[np.bool_]) -> list[str]:
    return [str(value) for value in table.column(name).filter(pa.array(valid)).to_pylist()]


def _line_numbers(rows: int, first_line: int, skipped: Sequence[int]) -> NDArray[np.int64]:
    """Return the line of each parsed row: consecutive numbers without those of skipped rows."""
    every = np.arange(first_line, first_line + rows + len(skipped), dtype=np.int64)
    return every[~np.isin(every, np.array(skipped, np.int64))][:rows] if skipped else every


def _wrong_format(origin: str, layout: Layout, line: int, text: str) -> BadInputError:
    shown = text.strip()[:_SHOWN].encode("unicode_escape").decode("ascii")
    return BadInputError(f"{origin} is not {layout.words}: line {line} reads {shown!r}")
