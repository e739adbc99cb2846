"""What may leave the disk: only journals that were closed and are wholly in the ledger; what left can come back."""

import tarfile
from pathlib import Path

import pytest

from core.errors import BadInputError, IntegrityError, RefusedError
from core.journal import Journal, read_entries
from core.journal.retention import Retention, archive, judge, look_at, restore

DAY_NS = 86_400 * 1_000_000_000


def write(folder: Path, day: int, closed: bool = True) -> Path:
    with Journal(folder, segment_bytes=600) as journal:
        for number in range(20):
            journal.append("tick", b"price", day * DAY_NS + number)
        if closed:
            journal.append("session_closed", b"", day * DAY_NS + 99)
    return folder


def test_the_oldest_beyond_a_limit_go_unless_open_or_not_projected(tmp_path: Path) -> None:
    shelves = [
        look_at("old", write(tmp_path / "a", 1), "session_closed", 21),
        look_at("older, behind", write(tmp_path / "b", 0), "session_closed", 20),
        look_at("open", write(tmp_path / "c", 2, closed=False), "session_closed", 20),
        look_at("new", write(tmp_path / "d", 9), "session_closed", 21),
    ]
    by_name = {verdict.shelf.name: verdict for verdict in judge(shelves, Retention(days=5), 10 * DAY_NS)}
    assert {name for name, verdict in by_name.items() if verdict.archive} == {"old"}
    assert "not closed" in by_name["open"].reason
    assert "ledger" in by_name["older, behind"].reason
    assert [v.shelf.name for v in judge(shelves, Retention(keep=1), 10 * DAY_NS) if v.archive] == ["old"]
    assert [v.archive for v in judge(shelves, Retention(bytes=10**9), 10 * DAY_NS)] == [False] * 4
    assert sum(v.archive for v in judge(shelves, Retention(bytes=0), 10 * DAY_NS)) == 2


def test_an_archived_journal_comes_back_and_no_second_one_begins(tmp_path: Path) -> None:
    folder = write(tmp_path / "journal", 1)
    before = list(read_entries(folder))
    target = tmp_path / "archive" / "one.tar.xz"
    assert archive(folder, target) == target.stat().st_size
    assert not list(folder.glob("*.journal"))
    with pytest.raises(RefusedError, match="archived"):
        Journal(folder)
    assert restore(target, folder) == before[-1].sequence
    assert list(read_entries(folder)) == before
    Journal(folder).close()


def test_the_open_journal_is_never_archived(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.append("tick", b"", 1, durable=True)
        with pytest.raises(RefusedError, match="being written"):
            archive(tmp_path / "journal", tmp_path / "a.tar.xz")


def test_damage_is_found_before_anything_is_removed(tmp_path: Path) -> None:
    folder = write(tmp_path / "journal", 1)
    first = min(folder.glob("*.journal"))
    content = bytearray(first.read_bytes())
    content[60] ^= 1
    first.write_bytes(content)
    with pytest.raises(IntegrityError):
        archive(folder, tmp_path / "a.tar.xz")
    assert first.exists()
    assert not (tmp_path / "a.tar.xz").exists()


@pytest.mark.parametrize(("content", "error"), [(None, BadInputError), (b"no archive", IntegrityError)])
def test_a_bad_archive_leaves_nothing_behind(
    tmp_path: Path, content: bytes | None, error: type[BadInputError | IntegrityError]
) -> None:
    pack = tmp_path / "packs" / "one.tar.xz"
    pack.parent.mkdir()
    if content is not None:
        pack.write_bytes(content)
    with pytest.raises(error, match="archive"):
        restore(pack, tmp_path / "sessions" / "one" / "journal")
    assert [path.name for path in tmp_path.iterdir()] == ["packs"]


def test_a_damaged_segment_inside_an_archive_is_not_restored(tmp_path: Path) -> None:
    folder = write(tmp_path / "journal", 1)
    target = tmp_path / "one.tar.xz"
    archive(folder, target)
    with tarfile.open(target, "r:xz") as pack:
        pack.extractall(tmp_path / "plain", filter="data")
    first = min((tmp_path / "plain").rglob("*.journal"))
    content = bytearray(first.read_bytes())
    content[60] ^= 1
    first.write_bytes(content)
    with tarfile.open(target, "w:xz") as pack:
        for path in sorted((tmp_path / "plain").rglob("*.journal")):
            pack.add(path, path.name)
    with pytest.raises(IntegrityError):
        restore(target, folder)
    assert not list(folder.glob("*.journal"))
