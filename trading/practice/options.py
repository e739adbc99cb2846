"""The command line of the practice broker's process."""

import argparse
import re
import time
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

import msgspec
import orjson

from core.clock import to_ns
from core.errors import BadInputError, UsageError
from core.settings import OandaSettings, get_settings
from trading.practice.config import ClockMode, FeedKind, PracticeConfig
from trading.practice.feeds.live import LiveSource
from trading.practice.identity import Identity, load_identity, remember_identity

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_SOURCES = {
    "practice": ("https://api-fxpractice.oanda.com", "https://stream-fxpractice.oanda.com"),
    "live": ("https://api-fxtrade.oanda.com", "https://stream-fxtrade.oanda.com"),
}


def parse_moment(text: str) -> int:
    """Read nanoseconds, a date (midnight UTC) or an RFC 3339 time.

    Raises:
        UsageError: the text is none of them.
    """
    if text.isdigit() and len(text) > 8:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time: write nanoseconds, 2026-01-31 or 2026-01-31T14:00:00Z") from None
    return to_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def with_identity(
    settings: OandaSettings, state_directory: Path | None, feed: FeedKind, from_ns: int | None
) -> Identity:
    """Return the identity to serve, and remember it (and when a simulation begins) beside the state."""
    if feed is FeedKind.LIVE:
        settings = OandaSettings()  # the given ones say where the prices come from
    identity = load_identity(settings, state_directory)
    if feed in (FeedKind.SIMULATION, FeedKind.LIVE) and not identity.start_ns:
        identity = msgspec.structs.replace(identity, start_ns=from_ns or time.time_ns())
    remember_identity(identity, state_directory)
    return identity


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


def _window(text: str) -> tuple[int, int]:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no window: write it like 16:59-17:05, New York time")
    hour, minute, end_hour, end_minute = map(int, found.groups())
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if start == end:
        raise argparse.ArgumentTypeError(f"{text!r} has no length")
    return start, end


def live_source(settings: OandaSettings, ready_file: Path | None) -> LiveSource:
    """Return where the live feed reads: another practice broker's ready file, else the OANDA settings.

    Raises:
        BadInputError: the ready file cannot be read.
        UsageError: the settings name no token or account.
    """
    if ready_file is not None:
        try:
            told = orjson.loads(ready_file.read_bytes())
            names = ("rest_url", "stream_url", "account_id", "token")
            return LiveSource(**{name: str(told[name]) for name in names})
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            raise BadInputError(f"{ready_file} is no ready file of a practice broker; name another") from None
    if settings.token is None or settings.account_id is None:
        raise UsageError(
            "the live feed needs a source: --source-ready-file, or TIDEGATE_OANDA__TOKEN and TIDEGATE_OANDA__ACCOUNT_ID"
        )
    rest, stream = _SOURCES[settings.environment]
    return LiveSource(
        rest_url=(settings.rest_url or rest).rstrip("/"),
        stream_url=(settings.stream_url or stream).rstrip("/"),
        account_id=settings.account_id.get_secret_value(),
        token=settings.token.get_secret_value(),
    )


class _Parser(argparse.ArgumentParser):
    """Raises what it finds wrong, so that both entry points end with one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help lists the choices")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m trading.practice.server", description="OANDA v20-compatible practice broker.")
    parser.add_argument("--workspace", type=Path, help="folder with params.yaml and the catalog")
    parser.add_argument("--feed", type=FeedKind, choices=list(FeedKind), default=FeedKind.SIMULATION)
    parser.add_argument("--clock", type=ClockMode, choices=list(ClockMode), help="default: real for a simulation")
    parser.add_argument("--from", dest="start", help="first market time: nanoseconds or a date")
    parser.add_argument("--to", dest="end", help="end of the market, exclusive")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=0, help="0: any free port")
    parser.add_argument("--ready-file", type=Path, help="written (mode 600) when requests are answered")
    parser.add_argument("--state", type=Path, help="folder that keeps the account over restarts; without: memory")
    parser.add_argument("--instruments", default="", help="comma-separated, instead of those of params.yaml")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, help="simulation: end after so many steps")
    parser.add_argument("--balance", type=_decimal)
    parser.add_argument("--ticks-per-second", type=float, default=5.0)
    parser.add_argument("--speed", type=float, default=3600.0, help="accelerated: market seconds a second")
    parser.add_argument("--requests-per-second", type=float, default=0.0, help="429 above it; 0: no limit")
    parser.add_argument("--connections-per-second", type=float, default=0.0, help="new ones; 429 above it; 0: no limit")
    parser.add_argument("--streams-per-account", type=int, default=0, help="at once; 429 above it; 0: no limit")
    parser.add_argument(
        "--liquidity", type=_decimal, default=Decimal(10_000_000), help="units each side of a quote has"
    )
    parser.add_argument("--hedging", action="store_true", help="both sides of an instrument may be open")
    parser.add_argument(
        "--fifo", action="store_true", help="the first-in-first-out rule of accounts in the United States"
    )
    parser.add_argument("--financing", action="store_true", help="charge for positions held at 17:00 New York")
    parser.add_argument("--weekend-halt", action="store_true", help="close the market by the FX calendar")
    parser.add_argument(
        "--maintenance", type=_window, action="append", default=[], help="daily halt, New York time, like 16:59-17:05"
    )
    parser.add_argument("--source-ready-file", type=Path, help="live feed: ready file of another practice broker")
    return parser


def parse_config(arguments: list[str]) -> tuple[PracticeConfig, int]:
    """Read the command line; returns the configuration and when a simulation began (0: no simulation).

    Raises:
        BadInputError: the market ends before it begins.
        UsageError: a time cannot be read, or the choices contradict each other.
    """
    options = _parser().parse_args(arguments)
    from_ns = parse_moment(options.start) if options.start else None
    to_ns = parse_moment(options.end) if options.end else None
    if from_ns is not None and to_ns is not None and from_ns >= to_ns:
        raise BadInputError(f"--from {options.start} is not before --to {options.end}: swap them")
    running = options.feed in (FeedKind.SIMULATION, FeedKind.LIVE)
    clock = options.clock or (ClockMode.REAL if running else ClockMode.LOCKSTEP)
    if options.hedging and options.fifo:
        raise UsageError("--hedging and --fifo exclude each other: choose one")
    if not (options.liquidity.is_finite() and options.liquidity > 0):
        raise UsageError("--liquidity must be above 0")
    if running and clock is ClockMode.REAL and from_ns is not None:
        # The walk would have to be made tick by tick from there to today before the first request is answered.
        raise UsageError("--from: a real clock begins now; add --clock lockstep or --clock accelerated")
    settings = get_settings().oanda
    source = live_source(settings, options.source_ready_file) if options.feed is FeedKind.LIVE else None
    identity = with_identity(settings, options.state, options.feed, from_ns)
    config = PracticeConfig(
        token=identity.token,
        account_id=identity.account_id,
        feed=options.feed,
        clock=clock,
        workspace=options.workspace,
        from_ns=from_ns,
        to_ns=to_ns,
        host=options.host,
        port=options.port,
        ready_file=options.ready_file,
        state_directory=options.state,
        instruments=tuple(name for name in options.instruments.split(",") if name),
        seed=options.seed,
        steps=options.steps,
        balance=options.balance,
        ticks_per_second=options.ticks_per_second,
        speed=options.speed,
        requests_per_second=options.requests_per_second,
        connections_per_second=options.connections_per_second,
        streams_per_account=options.streams_per_account,
        liquidity=options.liquidity,
        hedging=options.hedging,
        fifo=options.fifo,
        financing=options.financing,
        weekend_halt=options.weekend_halt,
        maintenance=tuple(options.maintenance),
        source=source,
    )
    return config, identity.start_ns
