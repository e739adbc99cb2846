"""The drill's small market: a seeded simulation, the feature state it begins from, and who answers.

Everything here is simulated and says so in every quote: a drill proves the engine, never a model.
"""

import hashlib
from pathlib import Path

import numpy as np

from core.clock import NANOSECONDS, from_rfc3339
from core.domain import INPUT_COLUMNS, AnsweredBy, BarKind, Panel, Prediction, PredictionRequest

INSTRUMENTS = ("EUR_USD", "USD_CHF", "USD_JPY")
BAR_SECONDS = 60
START_NS = from_rfc3339("2024-03-04T09:00:00Z")  # a Monday, far from rollover and weekend
_OPENING = (1.1, 0.9091, 149.2537)  # where the simulation feed begins
_WARM_STEPS = 320
_STEP_VOLATILITY = 1.9e-4  # of one minute, as in the simulation feed


def write_feature_state(path: Path) -> None:
    """Write the kernel's state just before the market opens: a fold over an invented hour-by-minute history."""
    from features.batch import compute
    from features.sets import feature_set

    random = np.random.default_rng(1)
    times = START_NS - np.arange(_WARM_STEPS - 1, -1, -1, dtype=np.int64) * BAR_SECONDS * NANOSECONDS
    values = np.full((_WARM_STEPS, len(INSTRUMENTS), len(INPUT_COLUMNS)), np.nan)
    for column, opening in enumerate(_OPENING):
        logs = np.cumsum(random.normal(0.0, _STEP_VOLATILITY, _WARM_STEPS))
        middle = opening * np.exp(logs - logs[-1])
        before = np.concatenate([middle[:1], middle[:-1]])
        for offset, side in ((0, -5e-5), (4, 5e-5)):
            spread = opening * side
            values[:, column, offset] = before + spread
            values[:, column, offset + 1] = np.maximum(before, middle) * (1 + 2e-5) + spread
            values[:, column, offset + 2] = np.minimum(before, middle) * (1 - 2e-5) + spread
            values[:, column, offset + 3] = middle + spread
    arrivals = np.repeat(times[:, None], len(INSTRUMENTS), axis=1)
    _, state = compute(Panel(INSTRUMENTS, times, arrivals, values, BarKind.BAR), feature_set("bars"))
    state.save(path)


class ChangeablePredictor:
    """Answers from a hash of the decision id and changes its mind often, so that there are many orders.

    No model: what a drill proves is the engine, and the same decision must get the same answer after every restart.
    """

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        return [
            _answer(identifier, name, request.time_ns)
            for identifier, name in zip(request.decision_ids, request.instruments, strict=True)
        ]


def _answer(decision_id: str, instrument: str, time_ns: int) -> Prediction:
    draw = hashlib.sha256(decision_id.encode()).digest()[0]
    side = (-1, 1, 0, -1, 1)[draw % 5]
    strong, weak = 0.9, 0.05
    return Prediction(
        decision_id=decision_id,
        instrument=instrument,
        time_ns=time_ns,
        probability_short=strong if side < 0 else weak,
        probability_flat=strong if side == 0 else weak,
        probability_long=strong if side > 0 else weak,
        model_name="drill",
        model_version="0",
        model_digest="0" * 64,
        answered_by=AnsweredBy.LOCAL,
    )
