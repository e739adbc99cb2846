"""A whole small market for trader tests: a panel, its feature state, a practice broker over HTTP, and a predictor."""

import asyncio
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from core.clock import NANOSECONDS, from_rfc3339
from core.domain import (
    INPUT_COLUMNS,
    AnsweredBy,
    BarKind,
    Panel,
    Prediction,
    PredictionRequest,
    default_instrument,
)
from core.settings import OandaSettings
from features.batch import compute
from features.sets import feature_set
from trading.brokers.oanda import OandaBroker
from trading.calendar import FixingSchedule
from trading.config import TraderConfig
from trading.feeds.lockstep import LockstepClock, LockstepFeed
from trading.practice.application import Application
from trading.practice.config import ClockMode, PracticeConfig
from trading.practice.feeds.bars import BarsFeed
from trading.practice.feeds.fixings import FixingsFeed
from trading.practice.feeds.interface import Feed
from trading.practice.persistence import Store
from trading.practice.venue import Venue
from trading.strategy.sizing import SizingParameters
from trading.summary import SessionSummary
from trading.trader import run_trader

INSTRUMENTS = ("EUR_CHF", "EUR_USD", "USD_CHF", "USD_JPY")
START_PRICES = (0.95, 1.1, 0.88, 150.0)
TOKEN = "token-of-the-trader-tests"
ACCOUNT = "101-004-7654321-001"
WARM = 320  # steps before trading begins


def fixing_times(count: int) -> np.ndarray:
    schedule = FixingSchedule()
    times = [from_rfc3339("2023-01-02T00:00:00Z")]
    for _ in range(count):
        times.append(schedule.next_after(times[-1]))
    return np.array(times[1:], np.int64)


def make_panel(kind: BarKind, steps: int, seed: int = 5) -> Panel:
    """A random walk in whole points, with a drift that changes its sign, so that momentum has something to find."""
    random = np.random.default_rng(seed)
    count = WARM + steps
    values = np.full((count, len(INSTRUMENTS), len(INPUT_COLUMNS)), np.nan)
    drift = np.repeat(random.choice([-0.004, 0.004], size=(count // 20 + 1, len(INSTRUMENTS))), 20, axis=0)[:count]
    logs = np.cumsum(random.normal(0, 0.006, (count, len(INSTRUMENTS))) + drift * 0.5, axis=0)
    if kind is BarKind.FIXING:
        times = fixing_times(count)
    else:
        times = from_rfc3339("2024-03-04T00:00:00Z") + np.arange(1, count + 1, dtype=np.int64) * 3600 * NANOSECONDS
    for column, name in enumerate(INSTRUMENTS):
        scale = 10.0 ** default_instrument(name).display_precision
        middle = np.round(
            START_PRICES[column] * np.exp(logs[:, column] * (1 if kind is BarKind.FIXING else 0.2)) * scale
        )
        if kind is BarKind.FIXING:
            values[:, column, 3] = values[:, column, 7] = middle / scale
            continue
        opened = np.concatenate([middle[:1], middle[:-1]])
        wick = random.integers(1, 40, (2, count))
        for offset, spread in ((0, 0), (4, 12)):
            values[:, column, offset] = (opened + spread) / scale
            values[:, column, offset + 1] = (np.maximum(opened, middle) + wick[0] + spread) / scale
            values[:, column, offset + 2] = (np.minimum(opened, middle) - wick[1] + spread) / scale
            values[:, column, offset + 3] = (middle + spread) / scale
    return Panel(INSTRUMENTS, times, np.repeat(times[:, None], len(INSTRUMENTS), axis=1), values, kind)


def trading_part(panel: Panel) -> Panel:
    """The steps that are traded."""
    return panel.between(int(panel.time_ns[WARM]), int(panel.time_ns[-1]) + 1)


def write_state(panel: Panel, set_name: str, path: Path) -> None:
    """The features stage in small: the kernel's state just before trading begins."""
    _, state = compute(panel.between(0, int(panel.time_ns[WARM])), feature_set(set_name))
    state.save(path)


def make_feed(panel: Panel) -> Feed:
    instruments = {name: default_instrument(name) for name in INSTRUMENTS}
    points = dict.fromkeys(INSTRUMENTS, 6)
    start = int(panel.time_ns[WARM])
    if panel.kind is BarKind.FIXING:
        return FixingsFeed(panel, instruments, start_ns=start, bridge_ticks=6, half_spread_points=points, seed=3)
    return BarsFeed(panel, instruments, start_ns=start - 1, half_spread_points=points)


class Practice:
    """A practice broker in a thread of its own."""

    def __init__(self, feed: Feed, state_directory: Path | None = None) -> None:
        self._feed = feed
        self._state = state_directory
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self.port = 0
        self.venue: Venue | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._started.wait(30):
            raise RuntimeError("the practice broker did not start")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self) -> OandaSettings:
        return practice_settings(self.url)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def __enter__(self) -> "Practice":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        config = PracticeConfig(
            token=TOKEN, account_id=ACCOUNT, clock=ClockMode.LOCKSTEP, instruments=INSTRUMENTS, heartbeat_seconds=0.5
        )
        instruments = {name: default_instrument(name) for name in INSTRUMENTS}
        self.venue = venue = Venue(config, instruments, self._feed, Store(self._state))
        runner = web.AppRunner(Application(venue).build(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        venue.base_url = self.url
        self._started.set()
        await self._stop.wait()
        venue.streams.close()
        await runner.cleanup()


def practice_settings(url: str) -> OandaSettings:
    return OandaSettings(
        rest_url=url,
        stream_url=url,
        token=TOKEN,  # type: ignore[arg-type]
        account_id=ACCOUNT,  # type: ignore[arg-type]
    )


class MomentumPredictor:
    """Calibrated on nothing: leans to the side of the five-step return in units of volatility. Deterministic."""

    def __init__(self, set_name: str) -> None:
        definition = feature_set(set_name)
        self._digest = definition.digest
        self._column = definition.columns.index("normalised_return_5")
        self.requests = 0

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        assert request.feature_digest == self._digest
        assert request.features.shape[0] == len(request.instruments)
        self.requests += 1
        answers: list[Prediction] = []
        for index, name in enumerate(request.instruments):
            lean = 0.25 * math.tanh(float(request.features[index, -1, self._column]))
            answers.append(
                Prediction(
                    decision_id=request.decision_ids[index],
                    instrument=name,
                    time_ns=request.time_ns,
                    probability_short=0.35 - lean,
                    probability_flat=0.3,
                    probability_long=0.35 + lean,
                    model_name="momentum",
                    model_version="1",
                    model_digest="m" * 64,
                    answered_by=AnsweredBy.LOCAL,
                )
            )
        return answers


def make_config(folder: Path, kind: BarKind, **changes: Any) -> TraderConfig:
    bars = kind is BarKind.BAR
    values: dict[str, Any] = {
        "session_id": "test-session",
        "session_directory": folder / "session",
        "account_key": "practice:test",
        "market": kind,
        "instruments": INSTRUMENTS,
        "feature_set": "bars" if bars else "fixings",
        "state_path": folder / "state.npz",
        "lookback": 3,
        "strategy": "test",
        "sizing": SizingParameters(steps_per_year=6200 if bars else 260),
        "simulated": True,
    }
    return TraderConfig(**(values | changes))


async def trade_on_practice(
    config: TraderConfig,
    url: str,
    predictor: Any,
    database_url: str | None = None,
    started: Callable[..., None] | None = None,
    handle_signals: bool = False,
) -> SessionSummary:
    """The composition root in small."""
    clock = LockstepClock()
    broker = OandaBroker(practice_settings(url), clock, settle_seconds=0.05)
    await broker.connect()
    try:
        async with LockstepFeed(broker, clock, config.instruments, url) as feed:
            return await run_trader(
                config, broker, predictor, clock, feed, database_url, handle_signals=handle_signals, started=started
            )
    finally:
        await broker.close()
