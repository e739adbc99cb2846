"""The schema is made whole or not at all, also where several processes make it at once or one dies on the way."""

import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from core.database import create_engine, migrate


def tables(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_a_migration_that_dies_half_way_leaves_nothing_and_the_next_one_makes_all(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'platform.db'}")

    def die(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "CREATE TABLE trials" in statement:
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", die)
    with pytest.raises(KeyboardInterrupt):
        migrate(engine)
    event.remove(engine, "before_cursor_execute", die)
    assert tables(engine) == set()
    migrate(engine)
    assert {"trials", "approvals", "alembic_version"} <= tables(engine)
    engine.dispose()


def migrate_together(url: str) -> None:
    """Bring a schema up to date, in a process of its own."""
    engine = create_engine(url, connect_timeout_seconds=30)
    migrate(engine)
    engine.dispose()


def test_processes_that_start_together_make_one_sqlite_schema(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'platform.db'}"
    create_engine(url).connect().close()  # the file, in the mode that all connections use
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["core.database", "alembic.command"])
    processes = [context.Process(target=migrate_together, args=(url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60.0)
    assert [process.exitcode for process in processes] == [0] * 4
    engine = create_engine(url)
    with engine.connect() as connection:
        found = list(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars())
    assert len(found) == len(set(found)) and "trials_0001" in found
    engine.dispose()
