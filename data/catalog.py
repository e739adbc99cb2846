"""The bitemporal catalog: what was known about the market, and when.

Every row has an event time (when it happened), an arrival time (when it could be known) and a version. A correction
appends a later version; nothing is overwritten, so "as known at T" can be rebuilt and hashes the same.

On disk: ``instrument=<NAME>/granularity=<NAME>/part-<sequence>-<digest>.parquet`` and one ``manifest.json`` that names
the parts which count. A commit writes its parts first and replaces the manifest last: readers see all of it or nothing
of it, and a part that no manifest names is left over from a crash and is removed by the next commit.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.digest import digest_file
from core.errors import BadInputError, IntegrityError
from core.files import replacing, write_bytes
from data.batch import Batch, price_columns
from data.granularity import Granularity, parse_granularity

MANIFEST = "manifest.json"
FORMAT = 1
_COMPRESSION = "zstd"


class Part(msgspec.Struct, frozen=True):
    """One parquet file of the catalog."""

    path: str
    instrument: str
    granularity: str
    rows: int
    first_event_ns: int
    last_event_ns: int
    sha256: str


class View(msgspec.Struct, frozen=True):
    """What the last pipeline ingest asked for: the selection that the stages after it see by default."""

    source: str
    granularity: str
    instruments: tuple[str, ...]
    since_ns: int | None = None
    until_ns: int | None = None


class Manifest(msgspec.Struct, frozen=True):
    """The parts that count, in the order of their writing, and the default view."""

    format: int = FORMAT
    parts: tuple[Part, ...] = ()
    view: View | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of one series, sorted by event time and sequence, one version of each.

    ``sequence`` numbers rows of the same event time (quotes of the same millisecond).
    """

    open_ns: NDArray[np.int64]
    event_ns: NDArray[np.int64]
    sequence: NDArray[np.int32]
    arrival_ns: NDArray[np.int64]
    version: NDArray[np.int32]
    values: NDArray[np.float64]
    derived: NDArray[np.bool_]
    source: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.event_ns)

    def take(self, selection: NDArray[np.bool_] | NDArray[np.int64]) -> "Rows":
        """Return the selected rows."""
        return Rows(
            self.open_ns[selection],
            self.event_ns[selection],
            self.sequence[selection],
            self.arrival_ns[selection],
            self.version[selection],
            self.values[selection],
            self.derived[selection],
            self.source[selection],
        )


@dataclass(frozen=True)
class Written:
    """What one write did. ``corrected`` rows got a later version; ``unchanged`` ones were there already."""

    added: int
    corrected: int
    unchanged: int


class Catalog:
    """A catalog folder. One writer at a time; any number of readers."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def manifest(self) -> Manifest:
        """Return the manifest; an empty one where there is no catalog yet.

        Raises:
            IntegrityError: the manifest is damaged or of another format.
        """
        path = self.root / MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            return Manifest()
        except msgspec.DecodeError as error:
            raise IntegrityError(f"{path} is damaged: {error}; restore it or ingest into a new folder") from None
        if manifest.format != FORMAT:
            raise IntegrityError(f"{path} has format {manifest.format}, this version reads {FORMAT}: ingest anew")
        return manifest

    def write(self, batch: Batch, known_ns: int | None = None) -> Written:
        """Append one batch in a commit of its own; see ``Transaction.write``."""
        with self.transaction() as transaction:
            return transaction.write(batch, known_ns)

    @contextmanager
    def transaction(self) -> "Iterator[Transaction]":
        """Yield a transaction that is committed on success and leaves no trace on failure."""
        transaction = Transaction(self)
        try:
            yield transaction
        except BaseException:
            transaction.abandon()
            raise
        transaction.commit()

    def series(self) -> dict[str, tuple[str, ...]]:
        """Return the granularities that the catalog holds of each instrument, sorted."""
        found: dict[str, set[str]] = {}
        for part in self.manifest().parts:
            found.setdefault(part.instrument, set()).add(part.granularity)
        return {name: tuple(sorted(found[name])) for name in sorted(found)}

    def read(
        self,
        instrument: str,
        granularity: Granularity | str,
        start_ns: int | None = None,
        end_ns: int | None = None,
        as_of_ns: int | None = None,
    ) -> Rows:
        """Return the rows with ``start_ns <= event time < end_ns`` as known at ``as_of_ns`` (None: now, everything).

        Raises:
            IntegrityError: a part is missing or damaged.
        """
        grain = parse_granularity(granularity) if isinstance(granularity, str) else granularity
        parts = [
            part
            for part in self.manifest().parts
            if (part.instrument, part.granularity) == (instrument, grain.name)
            and (start_ns is None or part.last_event_ns >= start_ns)
            and (end_ns is None or part.first_event_ns < end_ns)
        ]
        return self.read_parts(parts, grain, start_ns, end_ns, as_of_ns)

    def read_parts(
        self,
        parts: Sequence[Part],
        granularity: Granularity,
        start_ns: int | None = None,
        end_ns: int | None = None,
        as_of_ns: int | None = None,
    ) -> Rows:
        """Return the latest version that had arrived of every row of some parts."""
        rows = from_table([self._table(part) for part in parts], granularity)
        chosen = np.ones(len(rows), bool)
        if start_ns is not None:
            chosen &= rows.event_ns >= start_ns
        if end_ns is not None:
            chosen &= rows.event_ns < end_ns
        if as_of_ns is not None:
            chosen &= rows.arrival_ns <= as_of_ns
        if not chosen.all():
            rows = rows.take(chosen)
        if not len(rows):
            return rows
        order = np.lexsort((rows.version, rows.sequence, rows.event_ns))
        event, sequence = rows.event_ns[order], rows.sequence[order]
        latest = np.r_[(event[1:] != event[:-1]) | (sequence[1:] != sequence[:-1]), True]
        return rows.take(order[latest])

    def digest(
        self,
        as_of_ns: int | None = None,
        instruments: Sequence[str] | None = None,
        granularity: str | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> str:
        """Return one SHA-256 over the rows as known at ``as_of_ns``, independent of how they were written."""
        state = hashlib.sha256()
        for name, grains in self.series().items():
            for grain in grains:
                if (instruments is not None and name not in instruments) or granularity not in (None, grain):
                    continue
                rows = self.read(name, grain, start_ns, end_ns, as_of_ns)
                if not len(rows):
                    continue
                state.update(f"{name}/{grain}/{len(rows)}\n".encode())
                for column in (rows.open_ns, rows.event_ns, rows.sequence, rows.arrival_ns, rows.version):
                    state.update(np.ascontiguousarray(column, np.dtype("<i8")).tobytes())
                # One NaN, one zero: equal values must hash equally.
                values = np.where(np.isnan(rows.values), np.nan, rows.values) + 0.0
                state.update(np.ascontiguousarray(values, np.dtype("<f8")).tobytes())
                state.update(np.ascontiguousarray(rows.derived, np.uint8).tobytes())
        return state.hexdigest()

    def verify(self) -> int:
        """Check every part against its digest and return how many there are.

        Raises:
            IntegrityError: a part is missing or differs.
        """
        parts = self.manifest().parts
        for part in parts:
            path = self.root / part.path
            if not path.is_file() or digest_file(path) != part.sha256:
                raise IntegrityError(f"{path} is missing or differs from its digest: restore the catalog")
        return len(parts)

    def _table(self, part: Part) -> pa.Table:
        path = self.root / part.path
        try:
            return pq.read_table(path, partitioning=None)
        except (FileNotFoundError, pa.ArrowInvalid, OSError) as error:
            raise IntegrityError(f"{path} cannot be read: {type(error).__name__}; restore the catalog") from None


class Transaction:
    """Writes that become visible together."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._before = catalog.manifest()
        self._parts = list(self._before.parts)
        self._view = self._before.view
        self._new: list[Path] = []

    def set_view(self, view: View) -> None:
        """Choose what the stages after this commit see by default."""
        self._view = view

    def write(self, batch: Batch, known_ns: int | None = None) -> Written:
        """Append the rows that are new or changed, compared with the latest versions.

        A changed row becomes the next version. It arrived at ``known_ns``, and never before the version it replaces:
        what was known earlier stays as it was. Rows of one event time are numbered in the order they come.

        Raises:
            BadInputError: a row changed and ``known_ns`` is None: when a correction became known must be said.
        """
        order = np.argsort(batch.event_ns, kind="stable")
        batch = batch.take(order)
        event = batch.event_ns
        sequence = _sequence(event)
        parts = [
            part
            for part in self._parts
            if (part.instrument, part.granularity) == (batch.instrument, batch.granularity.name)
        ]
        touching = [
            part for part in parts if len(event) and part.last_event_ns >= event[0] and part.first_event_ns <= event[-1]
        ]
        version = np.ones(len(event), np.int32)
        arrival = batch.arrival_ns.copy()
        changed = fresh = np.ones(len(event), bool)
        if touching:
            known = self._catalog.read_parts(touching, batch.granularity)
            position, there = _find(known, event, sequence)
            at = position[there]
            same = np.zeros(len(event), bool)
            same[there] = (
                _equal_rows(known.values[at], batch.values[there])
                & (known.open_ns[at] == batch.open_ns[there])
                & (known.derived[at] == batch.derived)
            )
            fresh = ~there
            changed = ~same
            corrected = changed & there
            if corrected.any():
                if known_ns is None:
                    raise BadInputError(
                        f"{batch.name}: {int(corrected.sum())} rows differ from the catalog; "
                        "say when the correction became known"
                    )
                replaced = position[corrected]
                version[corrected] = known.version[replaced] + 1
                arrival[corrected] = np.maximum.reduce(
                    [arrival[corrected], np.full(len(replaced), known_ns), known.arrival_ns[replaced] + 1]
                )
        result = Written(int(fresh.sum()), int((changed & ~fresh).sum()), int((~changed).sum()))
        if changed.any():
            rows = Rows(
                batch.open_ns,
                event,
                sequence,
                arrival,
                version,
                batch.values,
                np.full(len(event), batch.derived),
                np.full(len(event), batch.source, object),
            ).take(changed)
            self._append(batch, rows)
        return result

    def commit(self) -> None:
        """Make the writes visible. Writes that changed nothing leave the catalog byte for byte as it was."""
        manifest = Manifest(FORMAT, tuple(self._parts), self._view)
        if manifest != self._before or not (self._catalog.root / MANIFEST).is_file():
            write_bytes(self._catalog.root / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        counted = {part.path for part in self._parts}
        for path in sorted(self._catalog.root.rglob("part-*.parquet")):
            if path.relative_to(self._catalog.root).as_posix() not in counted:
                path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Remove what was written."""
        for path in self._new:
            path.unlink(missing_ok=True)
            for folder in (path.parent, path.parent.parent, self._catalog.root):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def _append(self, batch: Batch, rows: Rows) -> None:
        folder = Path(f"instrument={batch.instrument}") / f"granularity={batch.granularity.name}"
        number = sum(part.path.startswith(f"{folder.as_posix()}/") for part in self._parts)
        table = to_table(rows, batch.granularity)
        with replacing(self._catalog.root / folder / f"part-{number:06d}.parquet") as temporary:
            pq.write_table(table, temporary, compression=_COMPRESSION)
            digest = digest_file(temporary)
        name = (folder / f"part-{number:06d}.parquet").as_posix()
        final = (folder / f"part-{number:06d}-{digest[:12]}.parquet").as_posix()
        (self._catalog.root / name).rename(self._catalog.root / final)
        self._new.append(self._catalog.root / final)
        self._parts.append(
            Part(
                final,
                batch.instrument,
                batch.granularity.name,
                len(rows),
                int(rows.event_ns[0]),
                int(rows.event_ns[-1]),
                digest,
            )
        )


def to_table(rows: Rows, granularity: Granularity) -> pa.Table:
    """Return rows as an Arrow table with UTC nanosecond timestamps."""
    stamp = pa.timestamp("ns", "UTC")
    arrays: dict[str, Any] = {
        "open_time": pa.array(rows.open_ns).cast(stamp),
        "event_time": pa.array(rows.event_ns).cast(stamp),
        "sequence": pa.array(rows.sequence),
        "arrival_time": pa.array(rows.arrival_ns).cast(stamp),
        "version": pa.array(rows.version),
    }
    for index, name in enumerate(price_columns(granularity)):
        arrays[name] = pa.array(np.ascontiguousarray(rows.values[:, index]))
    arrays["derived"] = pa.array(rows.derived)
    arrays["source"] = pa.array(rows.source, pa.string()).dictionary_encode()
    return pa.table(arrays)


def from_table(tables: Sequence[pa.Table], granularity: Granularity) -> Rows:
    """Return Arrow tables of one granularity as rows, in their order."""
    names = price_columns(granularity)
    if not tables:
        empty = np.empty(0, np.int64)
        return Rows(
            empty,
            empty,
            empty.astype(np.int32),
            empty,
            empty.astype(np.int32),
            np.empty((0, len(names))),
            np.empty(0, bool),
            np.empty(0, object),
        )

    def column(name: str, dtype: Any) -> NDArray[Any]:
        chunks = [np.asarray(_plain(table.column(name)).to_numpy(), dtype) for table in tables]
        return np.concatenate(chunks)

    return Rows(
        column("open_time", np.int64),
        column("event_time", np.int64),
        column("sequence", np.int32),
        column("arrival_time", np.int64),
        column("version", np.int32),
        np.column_stack([column(name, np.float64) for name in names]),
        column("derived", bool),
        column("source", object),
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64())
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _sequence(event_ns: NDArray[np.int64]) -> NDArray[np.int32]:
    """Number the rows of each event time from 0, given sorted times."""
    if not len(event_ns):
        return np.empty(0, np.int32)
    starts = np.r_[0, np.flatnonzero(np.diff(event_ns)) + 1]
    lengths = np.diff(np.r_[starts, len(event_ns)])
    return (np.arange(len(event_ns)) - np.repeat(starts, lengths)).astype(np.int32)


def _find(
    known: Rows, event_ns: NDArray[np.int64], sequence: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where each (event, sequence) is among sorted rows and whether it is there.

    Sequences of one event time have no holes, so the row lies ``sequence`` places after the first of its time.
    """
    position = np.searchsorted(known.event_ns, event_ns, side="left") + sequence
    inside = position < len(known)
    position = np.where(inside, position, 0)
    there = inside & (known.event_ns[position] == event_ns) if len(known) else np.zeros(len(event_ns), bool)
    return position, there


def _equal_rows(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=1)
