"""Plans, requests, risk events, refusals and reconciliations in the ledger; upgrades, rebuilding, looking at it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from execution_market import ExecutionMarket

import core.database.engine as engine_module
from core.database import create_engine, migrate
from core.embedded.postgres import EmbeddedPostgres
from core.errors import BadInputError, IntegrityError, RefusedError
from core.journal import Journal, read_entries
from core.journal.reader import segment_paths
from trading import records
from trading.execution.parameters import ChildStyle, ExecutionParameters
from trading.execution.plan import Algorithm
from trading.ledger import tables
from trading.ledger.inspection import inspect
from trading.ledger.projector import Projector
from trading.ledger.rebuilding import journal_at_rest, rebuild
from trading.risk.limits import RiskState


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("plans-postgres"))
    postgres.start()
    yield postgres
    postgres.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    postgres: EmbeddedPostgres = request.getfixturevalue("server")
    name = f"plans_{abs(hash(request.node.name)) % 10**8}"
    postgres.create_database(name)
    return postgres.database_url(name)


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """A session with a passive plan that is moved, crossed and superseded, and what else the ledger keeps."""
    parameters = ExecutionParameters(
        algorithm=Algorithm.TWAP, duration_seconds=20.0, slices=2, child_style=ChildStyle.PASSIVE, retry_seconds=1.0
    )
    trading = await ExecutionMarket(tmp_path / "market", parameters).begin()
    await trading.executor.start(trading.order(20_000), 0.006, 0)
    await trading.run(3)
    await trading.run(9, 1.1003, 1.1004)  # moved once, then crossed when the slice ended
    trading.paper.faults = ["never_left"]
    await trading.executor.supersede("EUR_USD", "a newer decision")
    assert trading.resting()  # the broker was away; the next look cancels it
    await trading.run(3, 1.1003, 1.1004)
    assert not trading.resting()
    now = trading.clock.time_ns()
    for record in (
        records.QuoteRefused("EUR_USD", now, "CROSSED", "bid 1.2 above ask 1.1"),
        records.QuoteRefused("EUR_USD", now + 5, "CROSSED", "bid 1.3 above ask 1.1"),
        records.QuoteRefused("EUR_USD", now + 6, "SPIKE", "1.1 to 9.9"),
        records.KillSwitchSet(True, True, now, "fills far from the market", "desk"),
        records.RiskStateChanged(RiskState.HALTED, now, "KILL_SWITCH", "fills far from the market"),
        records.Reconciled(now, "positions", 2),
        records.SessionClosed("x" * 300),
    ):
        trading.desk.commit(record)
    trading.journal.close()
    return trading.directory


def project(engine: sa.Engine, directory: Path, session: str = "plans") -> int:
    last = sum(1 for _ in read_entries(directory))
    projector = Projector(engine, directory, session)
    while projector.project(last, 7):
        pass
    return last


def rows(engine: sa.Engine, table: sa.Table) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()]


async def test_each_new_record_has_its_row(url: str, journal: Path) -> None:
    engine = create_engine(url)
    migrate(engine)
    last = project(engine, journal)
    (plan,) = rows(engine, tables.execution_plans)
    assert (plan["algorithm"], plan["units"], plan["outcome"], plan["children"]) == ("twap", 20_000, "superseded", 3)
    assert plan["executed_units"] == 10_000
    assert plan["average_price"] == Decimal("1.1004") and plan["arrival_mid"] == Decimal("1.10005")
    assert "a newer decision" in plan["words"]
    kinds = [row["kind"] for row in rows(engine, tables.order_events)]
    assert {"submitted", "amend_requested", "cancel_requested", "request_failed", "filled"} <= set(kinds)
    orders = {row["client_order_id"]: row for row in rows(engine, tables.orders)}
    amended = next(row for row in orders.values() if row["replaces"])
    assert (amended["price"], amended["time_in_force"]) == (Decimal("1.1003"), "GTD")
    assert orders[amended["replaces"]]["state"] == "cancelled"
    assert all(row["price_bound"] for row in orders.values() if row["order_type"] == "MARKET")
    refusals = {row["reason"]: row for row in rows(engine, tables.quote_refusals)}
    assert refusals["CROSSED"]["count"] == 2 and refusals["SPIKE"]["count"] == 1
    assert refusals["CROSSED"]["last_words"].startswith("bid 1.3")
    risk = [(row["kind"], row["state"], row["set_by"]) for row in rows(engine, tables.risk_events)]
    assert risk == [("kill_switch", "ON_FLATTEN", "desk"), ("risk_state", "HALTED", "trader")]
    assert [row["differences"] for row in rows(engine, tables.reconciliations)] == [2]
    seen = inspect(engine, "plans", journal, verify=True)
    assert (seen.differences, seen.lag, seen.watermark) == ((), 0, last)
    assert rebuild(engine, journal, "plans") == last
    assert inspect(engine, "plans", journal, verify=True).differences == ()


async def test_verify_finds_every_kind_of_difference(url: str, journal: Path) -> None:
    engine = create_engine(url)
    migrate(engine)
    project(engine, journal)
    with engine.begin() as connection:
        connection.execute(tables.execution_plans.update().values(executed_units=Decimal("9999.5")))
        connection.execute(tables.reconciliations.delete())
        fill = connection.execute(sa.select(tables.fills)).mappings().first()
        assert fill is not None
        connection.execute(tables.fills.insert().values(**{**fill, "transaction_id": 99}))
    found = {one.table: one for one in inspect(engine, "plans", journal, verify=True).differences or ()}
    assert found["ledger_execution_plans"].different == 1
    assert "executed_units 9999.5" in found["ledger_execution_plans"].examples[0]
    assert found["ledger_reconciliations"].missing == 1
    assert found["ledger_fills"].unexpected == 1
    assert len(found) == 3
    with pytest.raises(BadInputError, match="not on this machine"):
        inspect(engine, "plans", None, verify=True)


async def test_an_upgrade_keeps_what_was_there(url: str, journal: Path) -> None:
    """Rows as revision ledger_0001 had them, then the upgrade, then a rebuild that fills what was added."""
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(Path(engine_module.__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "ledger_0001")
        for table, values in (
            ("incidents", "('plans', 3, 30, 'risk_state', 'LIFTED', 'ACTIVE', 'checked by hand')"),
            ("incidents", "('plans', 4, 40, 'degraded', 'begun', 'price', 'old')"),
            ("watermarks", "('plans', 4)"),
        ):
            connection.execute(sa.text(f"INSERT INTO ledger_{table} VALUES {values}"))
        connection.execute(
            sa.text(
                "INSERT INTO ledger_orders VALUES ('plans', 'o', '1', 'd', 'EUR_USD', '1000', 'MARKET', NULL, "
                "'filled', '1000', NULL, '', 1, 2)"
            )
        )
    migrate(engine)
    (event,) = rows(engine, tables.risk_events)
    assert (event["state"], event["reason"], event["set_by"], event["words"]) == (
        "ACTIVE",
        "LIFTED",
        "hand",
        "checked by hand",
    )
    assert [row["kind"] for row in rows(engine, tables.incidents)] == ["degraded"]
    (order,) = rows(engine, tables.orders)
    assert order["units"] == 1000 and order["time_in_force"] is None
    rebuild(engine, journal, "plans")
    assert inspect(engine, "plans", journal, verify=True).differences == ()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "ledger_0001")
        moved = connection.execute(sa.text("SELECT count(*) FROM ledger_incidents WHERE kind = 'risk_state'"))
        assert moved.scalar_one() == 1
        command.upgrade(config, "ledger_0002")


def test_a_rebuild_needs_a_whole_journal_at_rest(tmp_path: Path, journal: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    migrate(engine)
    project(engine, journal)
    before = rows(engine, tables.orders)
    with Journal(journal):
        with pytest.raises(RefusedError, match="is running"):
            with journal_at_rest(journal):
                pass
    with pytest.raises(BadInputError, match="no journal"):
        with journal_at_rest(tmp_path / "nothing"):
            pass
    (segment,) = segment_paths(journal)
    segment.rename(segment.with_name("00000000000000000005.journal"))
    with pytest.raises((IntegrityError, BadInputError)):
        rebuild(engine, journal, "plans")
    assert rows(engine, tables.orders) == before


def test_the_commands(tmp_path: Path, journal: Path) -> None:
    """``show`` finds a difference, ``rebuild`` mends it; a running trader keeps ``rebuild`` away."""
    state = tmp_path / "var"
    folder = state / "sessions" / "plans"
    folder.mkdir(parents=True)
    journal.rename(folder / "journal")
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}

    def tidegate(*words: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "tidegate.cli", "ledger", *words, "--state", str(state), "--json"],
            capture_output=True,
            env=clean | {"TIDEGATE_DATABASE__URL": url},
            check=False,
            timeout=60,
        )
        assert done.stdout, done.stderr.decode()
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    engine = create_engine(url)
    migrate(engine)
    rebuild(engine, folder / "journal", "plans")
    with engine.begin() as connection:
        connection.execute(tables.orders.delete())
    code, result = tidegate("show", "--verify")
    assert code == 3 and result["differing"] == ["plans"]
    with Journal(folder / "journal"):
        code, result = tidegate("rebuild", "--session", "plans")
        assert code == 3 and "is running" in result["error"]
    code, result = tidegate("rebuild", "--all")
    assert code == 0 and result["rebuilt"]["plans"] > 20
    assert inspect(engine, "plans", folder / "journal", verify=True).differences == ()
