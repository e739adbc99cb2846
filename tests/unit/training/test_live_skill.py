"""Live forecasts of a champion from the trader's ledger, against a stated Brier score."""

from pathlib import Path

import numpy as np
import sqlalchemy as sa

from core.database import create_engine, migrate
from trading.ledger import tables
from trading.strategy.sizing import SizingParameters
from training.retraining.live import live_skill

STRATEGY, DIGEST = "tidegate-test", "d" * 64
COST = 0.0002


def write(engine: sa.Engine, moves: list[int], said: list[tuple[float, float, float]]) -> None:
    """Write one decision a step: prices move by -1, 0 or +1 times five costs after each."""
    migrate(engine)
    mid, key = 1.0, {"session_id": "one"}
    with engine.begin() as connection:
        connection.execute(
            tables.sessions.insert(),
            {**key, "strategy": STRATEGY, "broker": "paper", "account_key": "paper", "config_digest": "c",
             "instruments": "EUR_USD", "simulated": True, "start_balance": 1, "opened_ns": 1, "starts": 1},
        )  # fmt: skip
        for number, (move, (short, flat, long)) in enumerate(zip([*moves, 0], [*said, said[-1]], strict=True), start=1):
            one = {**key, "decision_id": f"d{number}", "instrument": "EUR_USD", "time_ns": number}
            connection.execute(
                tables.decisions.insert(),
                {**one, "current_units": 0, "target_fraction": 0.0, "target_units": 0, "reason": "edge",
                 "model_digest": DIGEST, "mid": mid},
            )  # fmt: skip
            connection.execute(
                tables.predictions.insert(),
                {**one, "probability_short": short, "probability_flat": flat, "probability_long": long,
                 "model_name": "m", "model_version": "1", "model_digest": DIGEST, "arm": "champion",
                 "policy_revision": 1, "answered_by": "serve"},
            )  # fmt: skip
            connection.execute(
                tables.scoring.insert(),
                {**one, "equity": 1e5, "volatility": 0.001, "cost": COST, "base_rate": 1.0, "quote_rate": 1.0,
                 "held": 0.0, "exits_only": False},
            )  # fmt: skip
            mid *= 1.0 + 5.0 * COST * move


def skill_of(tmp_path: Path, right: float, name: str) -> tuple[int, float, float]:
    """Forecasts that give the class that comes true 0.8 in a share ``right`` of the steps, else another one."""
    generator = np.random.default_rng(5)
    moves = generator.integers(-1, 2, 400).tolist()
    said: list[tuple[float, float, float]] = []
    for move in moves:
        named = move if generator.random() < right else int(generator.choice([m for m in (-1, 0, 1) if m != move]))
        short, flat, long = (0.8 if named == side else 0.1 for side in (-1, 0, 1))
        said.append((short, flat, long))
    engine = create_engine(f"sqlite:///{tmp_path / name}")
    write(engine, moves, said)
    found = live_skill(engine, STRATEGY, DIGEST, 2.0 / 3.0, SizingParameters(), 0)
    engine.dispose()
    return found.outcomes, found.mean_loss_difference, found.largest_e_value


def test_forecasts_that_are_right_prove_nothing_against_the_model(tmp_path: Path) -> None:
    outcomes, difference, e_value = skill_of(tmp_path, 0.8, "good.db")
    assert outcomes == 400
    assert difference < -0.2
    assert e_value < 2.0


def test_forecasts_that_are_mostly_wrong_are_proven_worse(tmp_path: Path) -> None:
    outcomes, difference, e_value = skill_of(tmp_path, 0.2, "bad.db")
    assert outcomes == 400
    assert difference > 0.1
    assert e_value > 20.0


def test_nothing_is_known_of_a_model_that_never_answered(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'none.db'}")
    migrate(engine)
    found = live_skill(engine, STRATEGY, DIGEST, 0.5, SizingParameters(), 0)
    engine.dispose()
    assert (found.outcomes, found.largest_e_value) == (0, 1.0)
