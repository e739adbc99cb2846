"""A practice broker in a thread of its own, with a feed the test writes tick by tick; everything goes over HTTP."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from typing import Any, cast

import aiohttp
from aiohttp import web
from broker_contract import RemoteVenue

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

    def opening(self) -> list[Quote]:
        return [
            Quote("EUR_USD", START_NS, START_NS, 1.1, 1.1001, simulated=True),
            Quote("USD_JPY", START_NS, START_NS, 150.0, 150.01, simulated=True),
        ]

    def steps(self, first: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        # The venue reads the ticks by position as it moves on, so it sees what is appended.
        yield Step(0, START_NS + 10**18, cast(tuple[Quote, ...], self.ticks))

    def append(self, instrument: str, bid: str, ask: str) -> int:
        time_ns = START_NS + (len(self.ticks) + 1) * STEP_NS
        self.ticks.append(Quote(instrument, time_ns, time_ns, float(bid), float(ask), simulated=True))
        return time_ns


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
    """The server; ``close`` ends its thread."""

    def __init__(self, feed: WrittenFeed | None = None, **changes: Any) -> None:
        self.feed = feed or WrittenFeed()
        self._config = PracticeConfig(
            token=TOKEN,
            account_id=ACCOUNT,
            clock=ClockMode.LOCKSTEP,
            instruments=INSTRUMENTS,
            **({"heartbeat_seconds": 0.5} | changes),
        )
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._started.wait(20):
            raise RuntimeError("the practice broker did not start")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        store = Store(None)
        venue = PracticeVenue(self._config, {name: default_instrument(name) for name in INSTRUMENTS}, self.feed, store)
        runner = web.AppRunner(Application(venue).build(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        venue.streams.close()
        await runner.cleanup()


class PracticeContractVenue(RemoteVenue):
    """``OandaBroker`` on a practice broker."""

    def __init__(self, server: PracticeServer) -> None:
        self._server = server
        self.broker: Broker = self.with_credentials()

    def with_credentials(self, token: str | None = None, account_id: str | None = None) -> Broker:
        settings = OandaSettings(
            rest_url=self._server.url,
            stream_url=self._server.url,
            token=token or TOKEN,  # type: ignore[arg-type]
            account_id=account_id or ACCOUNT,  # type: ignore[arg-type]
        )
        return OandaBroker(settings, LiveClock(), settle_seconds=0.1)

    async def quote(self, instrument: str, bid: str, ask: str) -> None:
        time_ns = self._server.feed.append(instrument, bid, ask)
        await self.admin("clock/advance", {"to": to_rfc3339(time_ns)})

    async def halt(self, instrument: str) -> None:
        await self.admin("halt", {"halted": True, "instruments": [instrument]})

    async def lose_next_reply(self) -> None:
        await self.admin("faults", {"kind": "lose_reply", "method": "POST", "path": "/orders"})

    async def cut_streams(self) -> None:
        await self.admin("faults", {"kind": "drop_stream"})

    async def admin(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{self._server.url}/admin/{path}", json=body) as reply:
                answer: dict[str, Any] = await reply.json()
                assert reply.status == 200, answer
                return answer

    async def advance(self) -> dict[str, Any]:
        return await self.admin("clock/advance", {})
