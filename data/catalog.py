"""The bitemporal catalog: what was known about the market, and when.

Every row has an event time (when it happened), an arrival time (when it could be known) and a version. A correction
appends a later version; nothing is overwritten, so "as known at T" can be rebuilt and hashes the same.

On disk: ``instrument=<NAME>/granularity=<NAME>/part-<sequence>-<digest>.parquet`` and one ``manifest.json`` that names
the parts which count. A commit writes its parts first and replaces the manifest last: readers see all of it or nothing
of it, and a part that no manifest names is left over from a crash and is removed by the next commit.
"""

import fcntl
import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.digest import digest_file
from core.errors import BadInputError, IntegrityError, UnavailableError
from core.files import replacing
from data.batch import Batch
from data.granularity import Granularity, parse_granularity
from data.manifest import FORMAT, MANIFEST, Manifest, Part, View, read_manifest, write_manifest
from data.rows import Rows, equal_rows, find_rows, from_table, number_repeats, to_table

_COMPRESSION = "zstd"


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
        return read_manifest(self.root)

    def write(self, batch: Batch, known_ns: int | None = None) -> Written:
        """Append one batch in a commit of its own; see ``Transaction.write``."""
        with self.transaction() as transaction:
            return transaction.write(batch, known_ns)

    @contextmanager
    def transaction(self) -> "Generator[Transaction]":
        """Yield a transaction that is committed on success and leaves no trace on failure.

        Raises:
            UnavailableError: another process is writing to this catalog.
        """
        with _writing(self.root):
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
            with pq.ParquetFile(path) as file:
                return file.read()
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
        what was known earlier stays as it was. A row that is new to the catalog keeps the arrival time of its source,
        also when it is written late: a backfill recreates what an observer of that day would have known. Rows of one
        event time are numbered in the order they come.

        Raises:
            BadInputError: a row changed and ``known_ns`` is None: when a correction became known must be said.
        """
        order = np.argsort(batch.event_ns, kind="stable")
        batch = batch.take(order)
        event = batch.event_ns
        sequence = number_repeats(event)
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
            position, there = find_rows(known, event, sequence)
            at = position[there]
            same = np.zeros(len(event), bool)
            same[there] = (
                equal_rows(known.values[at], batch.values[there])
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
            write_manifest(self._catalog.root, manifest)
        counted = {part.path for part in self._parts}
        for pattern in ("part-*.parquet", ".*.partial"):  # what a process that was killed left behind
            for path in sorted(self._catalog.root.rglob(pattern)):
                if path.relative_to(self._catalog.root).as_posix() not in counted:
                    path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Remove what was written."""
        for path in self._new:
            path.unlink(missing_ok=True)
            for folder in (path.parent, path.parent.parent):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
        if not any(self._catalog.root.iterdir()):
            self._catalog.root.rmdir()

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


@contextmanager
def _writing(root: Path) -> Generator[None]:
    """Hold the catalog for writing. The lock is on the folder itself and goes with the process, however it ends."""
    root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UnavailableError(f"another process is writing to {root}: wait until it is done") from None
    try:
        yield
    finally:
        os.close(handle)
