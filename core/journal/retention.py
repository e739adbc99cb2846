"""Which journals may leave the disk, and how they do: packed, checked, then removed. The open one never does."""

import lzma
import os
import tarfile
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from core.digest import digest_bytes, digest_file
from core.errors import BadInputError, IntegrityError, RefusedError
from core.files import write_json
from core.journal.lock import NAME as LOCK
from core.journal.lock import take_lock
from core.journal.reader import ARCHIVED, SUFFIX, read_entries, read_segment, segment_paths

_DAY_NS = 86_400 * 1_000_000_000


class Retention(msgspec.Struct, frozen=True):
    """What stays on disk. A journal beyond any of these limits is archived; None sets none.

    ``keep`` counts journals and ``bytes`` adds their sizes, newest first; ``days`` is the age of the last entry.
    """

    keep: int | None = None
    days: float | None = None
    bytes: int | None = None

    def check(self) -> None:
        """Refuse limits that make no sense.

        Raises:
            BadInputError: naming the limit.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise BadInputError(f"retention {name} must not be negative, not {value}")


class Shelf(msgspec.Struct, frozen=True):
    """One journal as retention sees it."""

    name: str
    directory: Path
    entries: int
    bytes: int
    newest_ns: int
    last_kind: str
    closed: bool
    projected: bool  # everything in it is in the ledger


class Verdict(msgspec.Struct, frozen=True):
    """Whether a journal is to be archived, and why or why not."""

    shelf: Shelf
    archive: bool
    reason: str


def look_at(name: str, directory: Path, closing_kind: str, projected_to: int) -> Shelf:
    """Describe a journal from its last segment.

    Args:
        name: of the session.
        directory: of its journal.
        closing_kind: the kind of the last entry of a journal that was closed.
        projected_to: the last entry that the ledger holds.

    Raises:
        BadInputError: there is no journal.
    """
    paths = segment_paths(directory)
    if not paths:
        raise BadInputError(f"no journal in {directory}")
    entries, offset, size = read_segment(paths[-1])
    if not entries and len(paths) > 1:
        entries, offset, size = read_segment(paths[-2])
    last = entries[-1] if entries else None
    sequence = last.sequence if last else 0
    kind = last.kind if last else ""
    return Shelf(
        name=name,
        directory=directory,
        entries=sequence,
        bytes=sum(path.stat().st_size for path in paths),
        newest_ns=last.time_ns if last else 0,
        last_kind=kind,
        closed=kind == closing_kind and offset == size,
        projected=projected_to >= sequence > 0,
    )


def judge(shelves: Sequence[Shelf], retention: Retention, now_ns: int) -> list[Verdict]:
    """Decide about each journal, newest first. What is open, or not wholly in the ledger, always stays."""
    verdicts: list[Verdict] = []
    total = 0
    for rank, shelf in enumerate(sorted(shelves, key=lambda item: (-item.newest_ns, item.name)), 1):
        total += shelf.bytes
        age = (now_ns - shelf.newest_ns) / _DAY_NS
        reason = ""
        if retention.keep is not None and rank > retention.keep:
            reason = f"number {rank}, {retention.keep} are kept"
        elif retention.days is not None and age > retention.days:
            reason = f"{age:.1f} days old, {retention.days:g} are kept"
        elif retention.bytes is not None and total > retention.bytes:
            reason = f"{total:,} bytes with the newer ones, {retention.bytes:,} are kept"
        if not reason:
            verdicts.append(Verdict(shelf, False, "within the limits"))
        elif not shelf.closed:
            verdicts.append(Verdict(shelf, False, f"{reason}; but it is not closed"))
        elif not shelf.projected:
            verdicts.append(Verdict(shelf, False, f"{reason}; but the ledger does not hold all of it"))
        else:
            verdicts.append(Verdict(shelf, True, reason))
    return verdicts


def archive(directory: Path, target: Path) -> int:
    """Pack a journal into ``target`` (tar, xz), check the pack, remove the segments; return the pack's bytes.

    The folder keeps a note: no writer begins a second journal where one was archived.

    Raises:
        RefusedError: a process writes it.
        IntegrityError: the journal is damaged, or what was packed reads differently.
    """
    with _locked(directory):
        paths = segment_paths(directory)
        last = 0
        for entry in read_entries(directory):
            last = entry.sequence
        digests = {path.name: digest_file(path) for path in paths}
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial")
        with tarfile.open(partial, "w:xz") as pack:
            for path in paths:
                pack.add(path, arcname=path.name)
        with tarfile.open(partial, "r:xz") as pack:
            packed = {
                member.name: digest_bytes(stream.read())
                for member in pack.getmembers()
                if (stream := pack.extractfile(member)) is not None
            }
        if packed != digests:
            raise IntegrityError(f"archive {partial} differs from the journal: nothing was removed")
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
        write_json(directory / ARCHIVED, {"archive": str(target), "last_sequence": last, "segments": digests})
        for path in paths:
            path.unlink()
        _sync(directory)
    return target.stat().st_size


def restore(archive_file: Path, directory: Path) -> int:
    """Unpack an archived journal into its folder and return its last sequence. A bad archive leaves nothing behind.

    Raises:
        RefusedError: the folder holds a journal.
        BadInputError: there is no such archive.
        IntegrityError: the archive is damaged.
    """
    if segment_paths(directory):
        raise RefusedError(f"{directory} holds a journal: restore into another folder")
    if not archive_file.is_file():
        raise BadInputError(f"there is no archive {archive_file}: name the packed journal with --archive")
    last = 0
    with tempfile.TemporaryDirectory(prefix="restoring-", dir=_existing(directory)) as scratch:
        try:
            with tarfile.open(archive_file, "r:xz") as pack:
                members = [member for member in pack.getmembers() if member.isfile() and member.name.endswith(SUFFIX)]
                pack.extractall(scratch, members=members, filter="data")
        except (tarfile.TarError, lzma.LZMAError, OSError, EOFError) as error:
            raise IntegrityError(f"archive {archive_file} cannot be read: {error}") from None
        if not members:
            raise IntegrityError(f"archive {archive_file} holds no journal: name another one with --archive")
        for entry in read_entries(Path(scratch)):
            last = entry.sequence
        directory.mkdir(parents=True, exist_ok=True)
        for path in segment_paths(Path(scratch)):
            path.replace(directory / path.name)
    (directory / ARCHIVED).unlink(missing_ok=True)
    return last


def _existing(directory: Path) -> Path:
    """Return the nearest folder above that is there: on the same file system, where nobody looks for journals."""
    return next(parent for parent in directory.absolute().parents if parent.is_dir())


@contextmanager
def _locked(directory: Path) -> Generator[None]:
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        take_lock(handle)
        yield
    except BlockingIOError:
        raise RefusedError(f"journal {directory} is being written: stop that process first") from None
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
