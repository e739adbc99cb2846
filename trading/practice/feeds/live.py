"""Real quotes, practice fills: the pricing stream of another v20 server (OANDA, or another practice broker).

The source is read only: its token needs no right to trade, and nothing here ever sends it an order. When its stream
breaks or falls silent (no line, not even a heartbeat, for ``SILENCE_SECONDS``) every quote is published once more as
not tradeable, and the stream is opened again with growing pauses: a fill at a price nobody vouches for is invented.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import quote as quoted
from urllib.request import Request, urlopen

import aiohttp
import msgspec
import orjson

from core.clock import from_rfc3339
from core.domain import Instrument, Quote
from core.errors import BadInputError, ConfigurationError, UnavailableError
from core.logging import get_logger
from trading.practice.feeds.interface import Step

log = get_logger("practice")

SILENCE_SECONDS = 12.0  # heartbeats come every five
_LONGEST_PAUSE = 30.0
_OPENING_TIMEOUT = 10.0


class LiveSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the quotes come from. ``repr`` shows no token."""

    rest_url: str
    stream_url: str
    account_id: str
    token: str

    def __repr__(self) -> str:
        return f"LiveSource({self.rest_url})"

    def _account(self, url: str) -> str:
        return f"{url}/v3/accounts/{quoted(self.account_id)}"

    def get(self, path: str) -> dict[str, Any]:
        """Ask the source once.

        Raises:
            ConfigurationError: it refuses the token or the account.
            UnavailableError: it cannot be reached or does not answer as a v20 server.
        """
        request = Request(self._account(self.rest_url) + path)
        request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urlopen(request, timeout=_OPENING_TIMEOUT) as reply:
                return cast(dict[str, Any], orjson.loads(reply.read()))
        except HTTPError as error:
            if error.code in (401, 403):
                raise ConfigurationError(
                    f"{self.rest_url} refuses the token or account of the price source ({error.code}): check them"
                ) from None
            raise UnavailableError(f"{self.rest_url} answers {error.code} to the price source's question") from None
        except (OSError, orjson.JSONDecodeError) as error:
            raise UnavailableError(f"the price source {self.rest_url} cannot be read ({error}); try again") from None

    def stream_address(self, names: tuple[str, ...]) -> str:
        """Return the address of the pricing stream."""
        return f"{self._account(self.stream_url)}/pricing/stream?instruments={'%2C'.join(names)}"


def listed_instruments(source: LiveSource, wanted: tuple[str, ...]) -> dict[str, Instrument]:
    """Return the source's own description of the instruments.

    Raises:
        BadInputError: the source does not list one of them.
    """
    items = {item["name"]: item for item in source.get("/instruments")["instruments"]}
    missing = sorted(set(wanted) - items.keys())
    if missing:
        raise BadInputError(f"the price source does not list {', '.join(missing)}; leave them out of --instruments")
    try:
        return {name: _instrument(items[name]) for name in sorted(wanted or items)}
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise BadInputError(f"the price source describes an instrument in a way that cannot be read: {error}") from None


def _instrument(item: Mapping[str, Any]) -> Instrument:
    return Instrument(
        name=str(item["name"]),
        pip_location=int(item["pipLocation"]),
        display_precision=int(item["displayPrecision"]),
        units_precision=int(item["tradeUnitsPrecision"]),
        minimum_units=Decimal(item["minimumTradeSize"]),
        maximum_order_units=Decimal(item["maximumOrderUnits"]),
        margin_rate=Decimal(item["marginRate"]),
        kind=str(item["type"]),
    )


def quote_of(line: Mapping[str, Any], arrival_ns: int) -> Quote:
    """Read a PRICE line.

    Raises:
        BadInputError: it says nothing that can be a quote.
    """
    try:
        bid, ask = float(line["bids"][0]["price"]), float(line["asks"][0]["price"])
        name, time_ns = str(line["instrument"]), from_rfc3339(str(line["time"]))
    except (KeyError, IndexError, TypeError, ValueError):
        raise BadInputError("the price source sent a PRICE line that cannot be read") from None
    if not 0 < bid <= ask < math.inf:
        raise BadInputError(f"the price source sent bid {bid}, ask {ask} for {name}")
    tradeable = bool(line.get("tradeable", line.get("status") == "tradeable"))
    return Quote(name, time_ns, arrival_ns, bid, ask, tradeable, bool(line.get("simulated", False)))


class LiveFeed:
    """Quotes as they arrive; there are no steps to take."""

    def __init__(self, source: LiveSource, instruments: Mapping[str, Instrument], start_ns: int) -> None:
        self._source = source
        self._names = tuple(sorted(instruments))
        self._start_ns = start_ns

    @property
    def instruments(self) -> tuple[str, ...]:
        return self._names

    @property
    def start_ns(self) -> int:
        return self._start_ns

    def opening(self) -> list[Quote]:
        prices = self._source.get(f"/pricing?instruments={'%2C'.join(self._names)}")["prices"]
        quotes = [quote_of(line, self._start_ns) for line in prices]
        return [msgspec.structs.replace(quote, time_ns=min(quote.time_ns, self._start_ns)) for quote in quotes]

    def steps(self, first: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        return iter(())

    async def run(self, publish: Callable[[Quote], None], standing: Callable[[], list[Quote]]) -> None:
        """Read the stream for ever, publishing each quote.

        Args:
            publish: takes a quote into the market.
            standing: returns the quotes that stand, to be published as not tradeable when the source is gone.
        """
        pause = 1.0
        while True:
            began = time.monotonic()
            try:
                async for line in self._lines():
                    if line.get("type") == "PRICE":
                        self._take(line, publish)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning("the price source is gone; nothing can be traded", reason=type(error).__name__)
            for quote in standing():
                if quote.tradeable:
                    publish(msgspec.structs.replace(quote, tradeable=False))
            pause = 1.0 if time.monotonic() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def _take(self, line: Mapping[str, Any], publish: Callable[[Quote], None]) -> None:
        try:
            quote = quote_of(line, time.time_ns())
        except BadInputError as error:
            log.warning("a line of the price source is left out", reason=error.message)
            return
        if quote.instrument in self._names:
            publish(quote)

    async def _lines(self) -> AsyncIterator[dict[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_OPENING_TIMEOUT, sock_read=SILENCE_SECONDS)
        headers = {"Authorization": f"Bearer {self._source.token}"}
        address = self._source.stream_address(self._names)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(address, headers=headers, raise_for_status=True) as reply,
        ):
            async for raw in reply.content:
                try:
                    line = orjson.loads(raw)
                except orjson.JSONDecodeError:
                    log.warning("a line of the price source is no JSON and left out", length=len(raw))
                    continue
                if isinstance(line, dict):
                    yield cast(dict[str, Any], line)
