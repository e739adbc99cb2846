"""The price stream: quotes and heartbeats in the broker's order."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec
from oandapyV20.endpoints.pricing import PricingStream

from core.clock import Clock, from_rfc3339
from core.domain import Heartbeat, Quote
from core.errors import BadInputError, TidegateError
from trading.brokers.oanda.handover import Handover
from trading.brokers.oanda.stream import LineStream


class _Level(msgspec.Struct):
    price: str


class _Line(msgspec.Struct, rename={"closeout_bid": "closeoutBid", "closeout_ask": "closeoutAsk"}):
    """The fields of a PRICE or HEARTBEAT line that are used; whatever else it says is skipped while parsing."""

    type: str
    time: str
    instrument: str = ""
    bids: list[_Level] = []
    asks: list[_Level] = []
    closeout_bid: str = ""
    closeout_ask: str = ""
    tradeable: bool | None = None
    status: str = ""  # before 2017 the only sign of a halt
    simulated: bool = False  # the practice broker marks what it made up


_decode = msgspec.json.Decoder(_Line).decode


@lru_cache(maxsize=256)
def _second_ns(text: str) -> int:
    return from_rfc3339(text + "Z")


def _time_ns(text: str) -> int:
    """Parse ``2016-10-27T08:38:43.094548890Z``; the whole second is the same for many ticks and remembered."""
    if len(text) == 30 and text[19] == "." and text[29] == "Z" and text[20:29].isdigit() and text.isascii():
        return _second_ns(text[:19]) + int(text[20:29])
    return from_rfc3339(text)


def read_line(line: bytes, arrival_ns: int) -> Quote | Heartbeat | None:
    """Read one line of the price stream; ``None`` for a kind of message this version does not know.

    Raises:
        BadInputError: not a message of the protocol, or a price that is none.
    """
    try:
        message = _decode(line)
        time_ns = _time_ns(message.time)
        if message.type == "HEARTBEAT":
            return Heartbeat(time_ns, arrival_ns)
        if message.type != "PRICE":
            return None
        # A halted market may have no level; its close-out prices then say where it stopped.
        bid = float(message.bids[0].price if message.bids else message.closeout_bid)
        ask = float(message.asks[0].price if message.asks else message.closeout_ask)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadInputError(f"price stream: a line cannot be read ({type(error).__name__}): skipped") from None
    if not (0.0 < bid < math.inf and 0.0 < ask < math.inf and message.instrument):
        raise BadInputError("price stream: a line without a usable price: skipped")
    tradeable = message.tradeable if message.tradeable is not None else message.status in ("", "tradeable")
    tradeable = tradeable and bool(message.bids) and bool(message.asks)
    return Quote(message.instrument, time_ns, arrival_ns, bid, ask, tradeable, message.simulated)


class QuoteStream:
    """One subscription. ``quotes`` is what the loop reads; ``ready`` is called once all standing quotes are there."""

    def __init__(
        self,
        environment: str,
        token: str,
        account_id: str,
        instruments: Sequence[str],
        timeout_seconds: float,
        clock: Clock,
        ready: Callable[[], None],
    ) -> None:
        self.quotes: Handover[Quote | Heartbeat] = Handover()
        self.failure: TidegateError | None = None
        self._clock = clock
        self._ready = ready
        self._subscribed = frozenset(instruments)
        self._awaited = set(instruments)
        self._announced = False
        self._last: dict[str, Quote] = {}
        self._repeated: set[str] = set()
        self.stream = LineStream(
            "price",
            environment,
            token,
            PricingStream(account_id, params={"instruments": ",".join(instruments)}),
            timeout_seconds,
            self._opened,
            self._received,
            self._ended,
        )

    @property
    def awaited(self) -> list[str]:
        """Instruments whose standing quote has not come yet."""
        return sorted(self._awaited)

    def _opened(self) -> None:
        # After a reconnect the broker repeats the standing quotes: each may be one already handed over.
        self._repeated = set(self._last)

    def _received(self, lines: list[bytes]) -> int:
        arrival_ns = self._clock.time_ns()
        items: list[Quote | Heartbeat] = []
        malformed = 0
        for line in lines:
            try:
                item = read_line(line, arrival_ns)
            except BadInputError:
                malformed += 1
                continue
            if isinstance(item, Quote):
                if item.instrument not in self._subscribed:
                    malformed += 1  # nobody asked for it: whoever sent it confuses subscriptions
                    continue
                if self._repeated and self._is_repeated(item):
                    continue
                self._last[item.instrument] = item
                if self._awaited:
                    self._awaited.discard(item.instrument)
            if item is not None:
                items.append(item)
        if items:
            self.quotes.put(items)
        if not self._announced and not self._awaited:
            self._announced = True
            self._ready()
        return malformed

    def _is_repeated(self, quote: Quote) -> bool:
        if quote.instrument not in self._repeated:
            return False
        self._repeated.discard(quote.instrument)
        last = self._last[quote.instrument]
        same = (quote.time_ns, quote.bid, quote.ask, quote.tradeable)
        return quote.time_ns < last.time_ns or same == (last.time_ns, last.bid, last.ask, last.tradeable)

    def _ended(self, error: TidegateError) -> None:
        self.failure = error
        self.quotes.end(error)
        self._ready()
