"""The practice broker's process: ``python -m trading.practice.server``, and ``run_practice_broker`` for the CLI."""

import asyncio
import contextlib
import errno
import gc
import os
import signal
import sys
from dataclasses import dataclass
from decimal import Decimal

import msgspec
import orjson
from aiohttp import web

from core.clock import to_rfc3339
from core.errors import BadInputError, TidegateError
from core.logging import configure_logging, get_logger
from core.settings import get_settings
from trading.practice.application import Application
from trading.practice.config import ClockMode, PracticeConfig
from trading.practice.feeds.build import build_feed, financing_rates, traded_instruments, workspace_params
from trading.practice.identity import write_private
from trading.practice.options import parse_config
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
    if config.financing:
        config = msgspec.structs.replace(config, financing_rates=financing_rates(params))
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


def _give_way() -> None:
    """Do not take the processor from a trader beside us in the moment it writes to us: a batch process never does.

    On two cores every fourth order's write returned only after this server had dealt with the order, 1 ms later.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


async def _serve(config: PracticeConfig, start_ns: int | None) -> None:
    _give_way()
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
