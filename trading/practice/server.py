"""The practice broker's process: ``python -m trading.practice.server``, and ``run_practice_broker`` for the CLI."""

import argparse
import asyncio
import contextlib
import errno
import gc
import os
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

import msgspec
import orjson
from aiohttp import web

from core.clock import to_ns, to_rfc3339
from core.errors import BadInputError, TidegateError, UsageError
from core.logging import configure_logging, get_logger
from core.settings import OandaSettings, get_settings
from trading.practice.application import Application
from trading.practice.config import ClockMode, FeedKind, PracticeConfig
from trading.practice.feeds.build import build_feed, traded_instruments, workspace_params
from trading.practice.identity import Identity, load_identity, remember_identity, write_private
from trading.practice.persistence import Store
from trading.practice.runner import run_clock
from trading.practice.venue import Venue

log = get_logger("practice")


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    venue: Venue
    rest_url: str
    stream_url: str
    _runner: web.AppRunner
    _clock: asyncio.Task[None] | None

    async def stop(self) -> None:
        """End streams, close connections and the journal."""
        if self._clock is not None:
            self._clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clock
        self.venue.streams.close()
        await self._runner.cleanup()
        self.venue.store.close()


def open_venue(config: PracticeConfig, start_ns: int | None = None) -> Venue:
    """Build the venue: instruments, feed, and the state on disk if there is any."""
    params = workspace_params(config)
    risk, costs = params.get("risk", {}), params.get("costs", {})
    if config.balance is None and "initial_balance" in risk:
        config = msgspec.structs.replace(config, balance=Decimal(str(risk["initial_balance"])))
    if config.commission_per_million is None:
        rate = Decimal(str(costs.get("commission_per_million", 0)))
        config = msgspec.structs.replace(config, commission_per_million=rate)
    instruments = traded_instruments(config, params)
    feed = build_feed(config, params, instruments, start_ns)
    return Venue(config, instruments, feed, Store(config.state_directory))


async def start_server(config: PracticeConfig, start_ns: int | None = None) -> Running:
    """Start serving; returns once requests are answered.

    Raises:
        BadInputError: the port is taken.
    """
    venue = open_venue(config, start_ns)
    runner = web.AppRunner(Application(venue).build(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, config.host, config.port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        venue.store.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        raise BadInputError(
            f"port {config.port} on {config.host} {reason}; choose another with --port, or 0 for any free one"
        ) from None
    host, port = runner.addresses[0][:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    venue.base_url = url
    clock = None if config.clock is ClockMode.LOCKSTEP else asyncio.create_task(run_clock(venue))
    # The objects made so far live as long as the server: the collector need not look at them while requests wait.
    gc.collect()
    gc.freeze()
    return Running(venue, url, url, runner, clock)


async def _serve(config: PracticeConfig, start_ns: int | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    running = await start_server(config, start_ns)
    if config.ready_file is not None:
        ready = {
            "rest_url": running.rest_url,
            "stream_url": running.stream_url,
            "pid": os.getpid(),
            "account_id": config.account_id,
            "token": config.token,
        }
        write_private(config.ready_file, orjson.dumps(ready, option=orjson.OPT_INDENT_2))
    log.info(
        "practice broker is ready",
        url=running.rest_url,
        feed=str(config.feed),
        clock=str(config.clock),
        instruments=len(running.venue.exchange.instruments),
        market_time=to_rfc3339(running.venue.time_ns),
    )
    await stopped.wait()
    await running.stop()
    log.info("practice broker has stopped")


def run_practice_broker(config: PracticeConfig, start_ns: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        BadInputError: the port is taken, or data or parameters cannot be used.
        UsageError: the choices contradict each other.
    """
    asyncio.run(_serve(config, start_ns))


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
    import time

    identity = load_identity(settings, state_directory)
    if feed is FeedKind.SIMULATION and not identity.start_ns:
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
    simulated = options.feed is FeedKind.SIMULATION
    clock = options.clock or (ClockMode.REAL if simulated else ClockMode.LOCKSTEP)
    if simulated and clock is ClockMode.REAL and from_ns is not None:
        # The walk would have to be made tick by tick from there to today before the first request is answered.
        raise UsageError("--from: a real clock begins now; add --clock lockstep or --clock accelerated")
    identity = with_identity(get_settings().oanda, options.state, options.feed, from_ns)
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
    )
    return config, identity.start_ns


def main(arguments: list[str] | None = None) -> int:
    """Run the server; returns the exit code."""
    try:
        configure_logging(get_settings().logging, "practice-broker")
        config, start_ns = parse_config(sys.argv[1:] if arguments is None else arguments)
        run_practice_broker(config, start_ns or None)
    except TidegateError as error:
        sys.stderr.write(f"practice broker: {error.message}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
