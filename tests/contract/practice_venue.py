"""A practice broker in a thread of its own, with a feed the test writes tick by tick; everything goes over HTTP."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import aiohttp
from aiohttp import web
from broker_venue import RemoteVenue, Request

from core.clock import LiveClock, from_rfc3339, to_rfc3339
from core.domain import Quote, default_instrument
from core.settings import OandaSettings
from trading.brokers.interface import Broker
from trading.brokers.oanda import OandaBroker
from trading.practice.application import Application
from trading.practice.config import ClockMode, PracticeConfig
from trading.practice.feeds.interface import Step
from trading.practice.persistence import Store
from trading.practice.venue import Venue as PracticeVenue

START_NS = from_rfc3339("2024-03-05T10:00:00Z")
STEP_NS = 1_000_000_000
INSTRUMENTS = ("EUR_USD", "USD_JPY")
TOKEN = "practice-token-of-the-contract"
ACCOUNT = "101-004-1234567-001"


class WrittenFeed:
    """One endless step whose ticks are appended as the test goes on."""

    instruments = INSTRUMENTS
    start_ns = START_NS

    def __init__(self) -> None:
        self.ticks: list[Quote] = []
        self.time_ns = START_NS

    def opening(self) -> list[Quote]:
        return [
            Quote("EUR_USD", START_NS, START_NS, 1.1, 1.1001, simulated=True),
            Quote("USD_JPY", START_NS, START_NS, 150.0, 150.01, simulated=True),
        ]

    def steps(self, first: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        # The venue reads the ticks by position as it moves on, so it sees what is appended.
        yield Step(0, START_NS + 10**18, cast(tuple[Quote, ...], self.ticks))

    def append(self, instrument: str, bid: str, ask: str) -> int:
        self.time_ns += STEP_NS
        self.ticks.append(Quote(instrument, self.time_ns, self.time_ns, float(bid), float(ask), simulated=True))
        return self.time_ns


class SteppedFeed(WrittenFeed):
    """A fixed number of steps, each with a fixed number of ticks a pair."""

    def __init__(self, count: int, ticks: int) -> None:
        super().__init__()
        self._count = count
        self._each = ticks

    def steps(self, first: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        for index in range(first, self._count):
            start = START_NS + index * 60 * STEP_NS
            quotes: list[Quote] = []
            for tick in range(self._each):
                time_ns = start + (tick + 1) * STEP_NS
                move = (index * 7 + tick * 3) % 40
                quotes.append(
                    Quote("EUR_USD", time_ns, time_ns, (110_000 + move) / 1e5, (110_010 + move) / 1e5, simulated=True)
                )
                quotes.append(
                    Quote("USD_JPY", time_ns, time_ns, (150_000 - move) / 1e3, (150_010 - move) / 1e3, simulated=True)
                )
            yield Step(index, start + 60 * STEP_NS, tuple(quotes))


class PracticeServer:
    """The server; ``close`` ends its thread.

    Args:
        feed: the market.
        folder: where its state survives a ``restart``; None: nowhere.
        changes: fields of its configuration.
    """

    def __init__(self, feed: WrittenFeed | None = None, folder: Path | None = None, **changes: Any) -> None:
        self.feed = feed or WrittenFeed()
        self._folder = folder
        self._config = PracticeConfig(
            token=TOKEN,
            account_id=ACCOUNT,
            clock=ClockMode.LOCKSTEP,
            instruments=INSTRUMENTS,
            **({"heartbeat_seconds": 0.5} | changes),
        )
        self.port = 0
        self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def restart(self) -> None:
        """End it without a farewell, and start it with what it has on disk, at the same address."""
        self.close()
        self._start()

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # closed before
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _start(self) -> None:
        self._started: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.result(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        store = Store(self._folder)
        venue = PracticeVenue(self._config, {name: default_instrument(name) for name in INSTRUMENTS}, self.feed, store)
        runner = web.AppRunner(Application(venue).build(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", self.port))
        listener.setblocking(False)
        await web.SockSite(runner, listener).start()
        self.port = listener.getsockname()[1]
        self._started.set_result(None)
        await self._stop.wait()
        # asyncio forgets a connection that is being accepted when its server closes: none is accepted any more first.
        self._loop.remove_reader(listener)
        await asyncio.sleep(0.01)
        assert runner.server is not None
        for connection in runner.server.connections:
            if connection.transport is not None:
                cast(asyncio.Transport, connection.transport).abort()  # as the death of the process would do
        venue.streams.close()
        await runner.cleanup()
        store.close()


_ROUTES: dict[Request, dict[str, str]] = {
    "submit": {"method": "POST", "path": "/orders"},
    "cancel": {"method": "PUT", "path": "/cancel"},
    "amend": {"method": "PUT", "path": "/orders/"},
}


class PracticeContractVenue(RemoteVenue):
    """``OandaBroker`` on a practice broker."""

    def __init__(self, server: PracticeServer) -> None:
        self._server = server
        self.broker: Broker = self.with_credentials()

    @property
    def time_ns(self) -> int:
        return self._server.feed.time_ns

    def with_credentials(self, token: str | None = None, account_id: str | None = None) -> Broker:
        settings = OandaSettings(
            rest_url=self._server.url,
            stream_url=self._server.url,
            token=token or TOKEN,  # type: ignore[arg-type]
            account_id=account_id or ACCOUNT,  # type: ignore[arg-type]
            heartbeat_timeout_seconds=5.5,
        )
        return OandaBroker(settings, LiveClock(), settle_seconds=0.1)

    async def quote(self, instrument: str, bid: str, ask: str) -> None:
        time_ns = self._server.feed.append(instrument, bid, ask)
        await self.admin("clock/advance", {"to": to_rfc3339(time_ns)})

    async def halt(self, instrument: str) -> None:
        await self.admin("halt", {"halted": True, "instruments": [instrument]})

    async def bound_liquidity(self, units: int | None) -> None:
        await self.admin("liquidity", {"units": None if units is None else str(units)})

    async def pass_time(self, seconds: int) -> None:
        self._server.feed.time_ns += seconds * STEP_NS
        await self.admin("clock/advance", {"to": to_rfc3339(self.time_ns)})

    async def restart_adapter(self) -> None:
        old, self.broker = self.broker, self.with_credentials()
        await asyncio.gather(old.close(), self.broker.connect())

    async def restart_broker(self) -> None:
        await asyncio.to_thread(self._server.restart)

    async def lose_next_reply(self, request: Request) -> None:
        await self.admin("faults", {"kind": "lose_reply"} | _ROUTES[request])

    async def lose_next_request(self, request: Request) -> None:
        await self.admin("faults", {"kind": "lose_request"} | _ROUTES[request])

    async def cut_streams(self) -> None:
        await self.admin("faults", {"kind": "drop_stream"})

    async def close(self) -> None:
        await self.broker.close()
        await asyncio.to_thread(self._server.close)

    async def admin(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{self._server.url}/admin/{path}", json=body) as reply:
                answer: dict[str, Any] = await reply.json()
                assert reply.status == 200, answer
                return answer

    async def advance(self) -> dict[str, Any]:
        return await self.admin("clock/advance", {})
