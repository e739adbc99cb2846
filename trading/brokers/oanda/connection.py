"""What all parts of the adapter share: the account, its worker threads, and the highest transaction id seen."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from oandapyV20.endpoints.accounts import AccountSummary
from oandapyV20.endpoints.trades import OpenTrades

from core.domain import Instrument
from core.errors import ConfigurationError, UnavailableError
from core.settings import OandaSettings
from trading.brokers.oanda.environment import select_environment
from trading.brokers.oanda.history import TransactionHistory
from trading.brokers.oanda.order_channel import OrderChannel
from trading.brokers.oanda.pacing import CircuitBreaker, TokenBucket
from trading.brokers.oanda.secrecy import protect
from trading.brokers.oanda.session import Endpoint, RestClient
from trading.brokers.v20.translate import Translator

Result = TypeVar("Result")

_READERS = 2  # threads for requests that change nothing; orders have a connection of their own


class Connection:
    """One account: REST access from worker threads, so that the event loop is never blocked.

    Raises:
        ConfigurationError: token or account missing, live without ``allow_live``, or no usable hosts.
    """

    def __init__(self, settings: OandaSettings, allow_live: bool) -> None:
        if settings.token is None or settings.account_id is None:
            missing = "TOKEN" if settings.token is None else "ACCOUNT_ID"
            raise ConfigurationError(f"TIDEGATE_OANDA__{missing} is not set: the account cannot be reached")
        self.token = settings.token.get_secret_value()
        self.account_id = settings.account_id.get_secret_value()
        if not (self.token.isascii() and self.token.isprintable()) or any(mark in self.account_id for mark in "/?#"):
            raise ConfigurationError(
                "TIDEGATE_OANDA__TOKEN or TIDEGATE_OANDA__ACCOUNT_ID has characters it cannot have: copy both again"
            )
        protect(self.token, self.account_id)
        self.environment = select_environment(settings, allow_live)
        self.breaker = CircuitBreaker()
        bucket = TokenBucket(settings.requests_per_second)
        shared = (self.environment, self.token, settings.request_timeout_seconds, bucket, self.breaker)
        self.client = RestClient(*shared)
        self.orders = OrderChannel(*shared)
        self.translator = Translator()
        self.history = TransactionHistory(self.client, self.account_id, self.translator, self.saw_transaction)
        self.instruments: dict[str, Instrument] = {}
        self.last_transaction = 0
        self._watch: asyncio.Task[None] | None = None
        self._readers = ThreadPoolExecutor(_READERS, "oanda-reads")

    def __repr__(self) -> str:
        return "Connection()"

    async def reading(self, work: Callable[[], Result]) -> Result:
        """Run ``work``, which changes nothing, in a reader thread."""
        return await _run(self._readers, work)

    async def read(self, endpoint: Endpoint, what: str) -> dict[str, Any]:
        """Read something of the account.

        Raises:
            UnavailableError: no answer.
            ConfigurationError: the broker refuses: token, account or rights are wrong.
        """
        reply = await self.reading(lambda: self.client.read(endpoint, what))
        if not reply.accepted:
            raise ConfigurationError(f"{what}: the broker answers {reply.error}: check TIDEGATE_OANDA__ACCOUNT_ID")
        return reply.body

    async def warm_orders(self) -> None:
        """Open the connection for orders, so that none has to wait for it."""
        path = str(AccountSummary(self.account_id))
        await self.orders.warm(path)
        if self._watch is None:
            self._watch = asyncio.create_task(self.orders.watch(path), name="oanda order connection")

    def refuse_orders(self) -> None:
        """From now on no order leaves."""
        self.orders.refuse_further()
        if self._watch is not None:
            self._watch.cancel()

    def learn_trades(self) -> None:
        """Read the open trades, whose ids stops and targets refer to. Blocking."""
        reply = self.client.read(OpenTrades(self.account_id), "open trades")
        self.translator.learn_trades(entries(reply.body, "trades"))

    def saw_transaction(self, number: int) -> None:
        """Note a transaction id the broker mentioned."""
        self.last_transaction = max(self.last_transaction, number)

    def shut_down(self) -> None:
        """End the threads, letting an order that is under way finish, and close all connections. Blocking."""
        self.orders.close()
        self._readers.shutdown(wait=True, cancel_futures=True)
        self.client.close()


def entries(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the list under ``key`` of a reply."""
    found = body.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in cast(list[object], found)):
        raise UnavailableError(f"the broker's answer has no list of {key}; try again")
    return cast(list[dict[str, Any]], found)


async def _run(pool: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
    try:
        future = asyncio.get_running_loop().run_in_executor(pool, work)
    except RuntimeError:  # the pool was shut down
        future = None
    if future is None:
        raise UnavailableError("the broker connection is closed: nothing was sent")
    return await future
