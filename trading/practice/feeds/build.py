"""Builds the feed a configuration asks for."""

import math
import time
from decimal import Decimal
from typing import Any

from core.domain import Instrument, default_instrument, normalise_name
from core.errors import BadInputError, UsageError
from core.params import read_params
from trading.practice.config import ClockMode, FeedKind, PracticeConfig
from trading.practice.feeds.interface import Feed
from trading.practice.feeds.live import LiveFeed, listed_instruments
from trading.practice.feeds.simulation import SimulationFeed

_SIMULATED_PAIRS = ("EUR_USD", "GBP_USD", "USD_CHF", "USD_JPY")
_SIMULATED_SPREAD = 6  # points a side: 0.6 pip, what the majors cost in params.yaml
_LOCKSTEP_SECONDS = 60.0
_LOCKSTEP_TICKS = 20


def half_spread_points(instrument: Instrument, pips: float) -> int:
    """Return a half spread in whole points, at least one: what a quote can express."""
    points = pips * float(instrument.pip / instrument.tick)
    return max(1, math.floor(points + 0.5))


def workspace_params(config: PracticeConfig) -> dict[str, Any]:
    """Return the parameters of the workspace; empty without one."""
    return {} if config.workspace is None else read_params(config.workspace / "params.yaml")


def financing_rates(params: dict[str, Any]) -> dict[str, tuple[Decimal, Decimal]]:
    """Return ``practice.financing_rates`` of the parameters: annual rates (long, short) by instrument.

    Raises:
        BadInputError: an entry is no pair of numbers.
    """
    given = params.get("practice", {}).get("financing_rates") or {}
    rates: dict[str, tuple[Decimal, Decimal]] = {}
    try:
        for name, (long, short) in dict(given).items():
            pair = (Decimal(str(long)), Decimal(str(short)))
            if not all(rate.is_finite() and abs(rate) < 10 for rate in pair):
                raise ValueError
            rates[normalise_name(str(name))] = pair
    except (TypeError, ValueError, ArithmeticError):
        raise BadInputError(
            "params.yaml: practice.financing_rates must be like {EUR_USD: [-0.021, 0.004]}: yearly, long and short"
        ) from None
    return rates


def traded_instruments(config: PracticeConfig, params: dict[str, Any]) -> dict[str, Instrument]:
    """Return the instruments to list, by name."""
    if config.feed is FeedKind.LIVE and config.source is not None:
        return listed_instruments(config.source, tuple(sorted({normalise_name(name) for name in config.instruments})))
    names = config.instruments or tuple(params.get("data", {}).get("instruments") or _SIMULATED_PAIRS)
    return {name: default_instrument(name) for name in sorted({normalise_name(str(name)) for name in names})}


def build_feed(
    config: PracticeConfig, params: dict[str, Any], instruments: dict[str, Instrument], start_ns: int | None
) -> Feed:
    """Build the feed.

    Args:
        config: what was asked for.
        params: the workspace's parameters.
        instruments: what to quote.
        start_ns: when a simulation began, if it goes on after a restart.

    Raises:
        UsageError: the choices contradict each other.
        BadInputError: parameters or data cannot be used.
    """
    if config.feed is FeedKind.LIVE:
        if config.source is None or config.clock is not ClockMode.REAL:
            raise UsageError("the live feed needs a source (--source-ready-file or OANDA settings) and a real clock")
        return LiveFeed(config.source, instruments, start_ns or time.time_ns())
    practice = params.get("practice", {})
    seed = int(practice.get("seed", 7)) if config.seed is None else config.seed
    pips = params.get("costs", {}).get("half_spread_pips") or {}
    points = {
        name: half_spread_points(item, float(pips[name])) if name in pips else _SIMULATED_SPREAD
        for name, item in instruments.items()
    }
    if config.feed is FeedKind.SIMULATION:
        real = config.clock is ClockMode.REAL
        begin = start_ns or config.from_ns or time.time_ns()
        return SimulationFeed(
            instruments,
            start_ns=begin,
            seed=seed,
            half_spread_points=points,
            step_seconds=1.0 if real else _LOCKSTEP_SECONDS,
            ticks_per_step=max(1, round(config.ticks_per_second)) if real else _LOCKSTEP_TICKS,
            steps=config.steps,
        )
    if config.clock is ClockMode.REAL:
        raise UsageError(f"the {config.feed} feed is history: run it with --clock lockstep or accelerated")
    if config.workspace is None:
        raise UsageError(f"the {config.feed} feed needs --workspace, the folder with params.yaml and the catalog")
    missing = [name for name in instruments if name not in pips]
    from trading.practice.feeds.panels import panel_feed  # reads parquet: only feeds over a catalog pay for that import

    if config.feed is FeedKind.FIXINGS and missing:
        raise BadInputError(f"params.yaml: costs.half_spread_pips has no entry for {', '.join(missing)}")
    ticks = int(practice.get("bridge_ticks", 8))
    return panel_feed(config, params, instruments, seed=seed, half_spread_points=points, bridge_ticks=ticks)
