"""Settings, files, digests, logging and the database engine: the parts every room stands on."""

import io
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from pydantic import SecretStr

from core.database import create_engine, migrate
from core.digest import canonical_json, digest_files, digest_source, digest_value
from core.errors import ConfigurationError, UnavailableError
from core.files import read_json, replacing, write_json
from core.logging import configure_logging, get_logger, quiet
from core.settings import LoggingSettings, get_settings


@pytest.fixture(autouse=True)
def _fresh_settings():  # type: ignore[no-untyped-def]
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_nested_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDEGATE_OANDA__TOKEN", "very-secret")
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path))
    settings = get_settings()
    assert settings.oanda.token is not None and settings.oanda.token.get_secret_value() == "very-secret"
    assert "very-secret" not in repr(settings)
    assert settings.mlflow_tracking_uri.endswith(f"{tmp_path}/mlflow/mlflow.db")


def test_a_bad_setting_names_the_variable_and_not_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_SERVING__PORT", "a-secret-typed-in-the-wrong-place")
    with pytest.raises(ConfigurationError, match="TIDEGATE_SERVING__PORT") as caught:
        get_settings()
    assert "a-secret" not in caught.value.message


def test_an_unknown_setting_of_a_section_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_OANDA__TOKE", "x")
    with pytest.raises(ConfigurationError, match="TOKE"):
        get_settings()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "result.json"
    write_json(path, {"a": 1})

    def half_written() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        half_written()
    assert read_json(path) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_digests_do_not_depend_on_order_and_see_every_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    files = [tmp_path / "a", tmp_path / "b"]
    before = digest_files(tmp_path, files)
    assert before == digest_files(tmp_path, reversed(files))
    (tmp_path / "b").write_text("3")
    assert before != digest_files(tmp_path, files)
    assert digest_value({"x": 1, "y": 2}) == digest_value({"y": 2, "x": 1})
    with pytest.raises(ValueError):
        canonical_json({"x": float("nan")})
    assert len(digest_source("core")) == 64
    with pytest.raises(ModuleNotFoundError):
        digest_source("no_such_room")


def test_logs_hide_secrets_by_type_and_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging(LoggingSettings(format="json"), process="test")
    try:
        get_logger("core").info("connected", token="abc123", key=SecretStr("def456"), account_id="001-1", host="h")
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    line = json.loads(stream.getvalue())
    assert line["room"] == "core" and line["process"] == "test" and line["host"] == "h"
    assert not {"abc123", "def456", "001-1"} & set(map(str, line.values()))


def test_a_cached_logger_follows_a_replaced_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", first)
    configure_logging(LoggingSettings(format="json"), process="test")
    try:
        logger = get_logger("core")
        logger.info("one")
        monkeypatch.setattr("sys.stderr", second)
        first.close()
        logger.info("two")
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    assert json.loads(second.getvalue())["event"] == "two"


def test_nothing_is_logged_where_quiet_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings(format="json"), process="test")
    try:
        with quiet():
            get_logger("trading").error("said before")
        get_logger("trading").error("news")
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["news"]


def test_sqlite_is_migrated_twice_without_harm_and_is_durable(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/platform.db")
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2
    engine.dispose()


def test_a_database_that_is_away_is_said_to_be_away(unused_tcp_port: int) -> None:
    engine = create_engine(f"postgresql+psycopg://u:p@127.0.0.1:{unused_tcp_port}/x", connect_timeout_seconds=1)
    with pytest.raises(UnavailableError, match="does not answer"):
        migrate(engine)
