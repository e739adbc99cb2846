"""Losses of the arms on a ledger small enough to compute by hand."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from serving_packages import approval_of, verified

from core.database import create_engine, metadata
from core.errors import UnavailableError
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Mode, Traffic
from tidegate.release_losses import losses
from trading.ledger import tables

STRATEGY = "tidegate-test"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Pointer:
    folder = tmp_path_factory.mktemp("losses")
    store = ModelStore(folder / "serving")
    approvals = []
    for number in (2, 3):
        package = verified(folder / str(number), bias=float(number), strategy=STRATEGY)
        store.add(package)
        approvals.append(approval_of(package, str(number), number))
    return store.set_policy(
        STRATEGY, champion=approvals[0], challenger=approvals[1], traffic=Traffic(mode=Mode.CANARY, share=0.5)
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    metadata.create_all(engine, tables=[tables.sessions, tables.decisions, tables.predictions, tables.fills])
    with engine.begin() as connection:
        connection.execute(
            tables.sessions.insert().values(
                session_id="s",
                strategy=STRATEGY,
                broker="practice",
                account_key="a",
                config_digest="c",
                instruments="EUR_USD",
                simulated=True,
                start_balance=Decimal(10_000),
                opened_ns=0,
                starts=1,
            )
        )
    yield engine
    engine.dispose()


def decide(
    engine: sa.Engine,
    time_ns: int,
    instrument: str,
    held: int,
    target: int,
    fraction: float,
    mid: float,
    arm: str,
    version: str,
    revision: int = 3,
) -> None:
    identity = f"{instrument}:{time_ns}"
    with engine.begin() as connection:
        connection.execute(
            tables.decisions.insert().values(
                session_id="s",
                decision_id=identity,
                instrument=instrument,
                time_ns=time_ns,
                current_units=Decimal(held),
                target_fraction=fraction,
                target_units=Decimal(target),
                reason="",
                model_digest="",
                mid=mid,
            )
        )
        connection.execute(
            tables.predictions.insert().values(
                session_id="s",
                decision_id=identity,
                instrument=instrument,
                time_ns=time_ns,
                probability_short=0.2,
                probability_flat=0.3,
                probability_long=0.5,
                model_name="linear",
                model_version=version,
                model_digest="",
                arm=arm,
                policy_revision=revision,
                answered_by="serve",
            )
        )


def fill(engine: sa.Engine, number: int, time_ns: int, instrument: str, units: int, price: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            tables.fills.insert().values(
                session_id="s",
                transaction_id=number,
                client_order_id=str(number),
                broker_order_id=str(number),
                instrument=instrument,
                units=Decimal(units),
                price=Decimal(price),
                time_ns=time_ns,
                realised_profit=Decimal(0),
                commission=Decimal(0),
                half_spread_cost=Decimal(0),
                financing=Decimal(0),
                reason="",
            )
        )


def test_each_arm_pays_for_its_own_decisions(engine: sa.Engine, policy: Pointer) -> None:
    decide(engine, 0, "EUR_USD", 0, 5000, 0.5, 1.5, "champion", "2", revision=2)  # before the policy: not counted
    decide(engine, 1, "EUR_USD", 0, 1000, 0.1, 1.0, "challenger", "3")
    fill(engine, 1, 1, "EUR_USD", 1000, "1.001")
    decide(engine, 2, "EUR_USD", 1000, 0, 0.0, 0.99, "champion", "2")
    fill(engine, 2, 2, "EUR_USD", -1000, "0.989")
    decide(engine, 3, "EUR_USD", 0, 0, 0.0, 0.98, "champion", "2")
    # The last decision on a pair has no later price; its stop was hit.
    decide(engine, 3, "USD_JPY", 0, 1000, 0.1, 100.0, "blend", "2+3")
    fill(engine, 3, 3, "USD_JPY", 1000, "100")
    fill(engine, 4, 5, "USD_JPY", -1000, "99")
    found = {loss.arm: loss for loss in losses(engine, policy, 3)}
    unit = 0.1 / 1000
    challenger = -1000 * (0.99 - 1.001) / 1.0 * unit + 1000 / 100 * unit
    champion = -(1000 * (0.98 - 0.99) - 1000 * (0.98 - 0.989)) / 0.99 * unit
    assert found["challenger"].share == pytest.approx(challenger, rel=1e-12)
    assert found["champion"].share == pytest.approx(champion, rel=1e-12)
    assert (found["challenger"].decisions, found["champion"].decisions) == (2, 2)
    assert (found["challenger"].version, found["champion"].version) == ("3", "2")


def test_without_decisions_there_is_no_figure_and_without_a_database_an_error(
    engine: sa.Engine, policy: Pointer, tmp_path: Path
) -> None:
    assert losses(engine, policy, 3) == []
    empty = create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(UnavailableError, match="ledger does not answer"):
        losses(empty, policy, 3)
