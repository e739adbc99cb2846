"""Transactions after an id, complete and in order, however many there are."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

from oandapyV20.endpoints.accounts import AccountSummary
from oandapyV20.endpoints.transactions import TransactionIDRange, TransactionsSinceID

from core.domain import AccountChanged, BrokerEvent
from core.errors import BadInputError, UnavailableError
from core.logging import get_logger
from trading.brokers.oanda.replies import Reply
from trading.brokers.oanda.session import RestClient
from trading.brokers.v20.translate import Translator

PAGE = 500  # ids a request; the broker allows up to 1,000

_log = get_logger("trading")
_ZERO = Decimal(0)


class TransactionHistory:
    """Reads transactions by id. Blocking; for worker threads.

    Args:
        client: REST access.
        account_id: whose transactions.
        translator: turns them into events.
        seen: told every last transaction id the broker mentions.
    """

    def __init__(
        self, client: RestClient, account_id: str, translator: Translator, seen: Callable[[int], None]
    ) -> None:
        self._client = client
        self._account_id = account_id
        self._translator = translator
        self._seen = seen

    def since(self, transaction_id: int) -> list[BrokerEvent]:
        """Return the events of all transactions after ``transaction_id``, oldest first; errors as in ``read``."""
        return self.read(transaction_id)[0]

    def read(self, transaction_id: int) -> tuple[list[BrokerEvent], int]:
        """Return the events after ``transaction_id``, oldest first, and the last id of the account.

        A transaction that cannot be read becomes an ``AccountChanged`` of kind ``UNREADABLE``: the id is accounted
        for, and whoever reads it knows to reconcile.

        Raises:
            UnavailableError: the broker does not answer, or answers with less than it says there is.
        """
        reply = self._client.read(
            TransactionsSinceID(self._account_id, params={"id": str(transaction_id)}), "transactions since an id"
        )
        if reply.accepted:
            found = self._page(reply)
            last = self._last(reply)
        else:  # too many for one answer
            found = {}
            last = self._last(self._client.read(AccountSummary(self._account_id), "account summary"))
        events = {number: event for number, event in found.items() if number > transaction_id}
        start = max(events, default=transaction_id) + 1
        while start <= last:
            end = min(start + PAGE - 1, last)
            reply = self._client.read(
                TransactionIDRange(self._account_id, params={"from": str(start), "to": str(end)}), "transactions by id"
            )
            if not reply.accepted:
                raise UnavailableError(f"transactions {start} to {end}: the broker answers {reply.error}; try again")
            events.update(self._page(reply))
            start = end + 1
        return [events[number] for number in sorted(events)], last

    def _page(self, reply: Reply) -> dict[int, BrokerEvent]:
        transactions = reply.body.get("transactions")
        if not isinstance(transactions, list) or not all(
            isinstance(entry, dict) for entry in cast(list[object], transactions)
        ):
            raise UnavailableError("transactions: the broker's answer has no list; try again")
        events: dict[int, BrokerEvent] = {}
        # By id, so that a fill is read before the stops of the trade it opened.
        for transaction in sorted(cast(list[dict[str, Any]], transactions), key=_number):
            event = self._event(transaction)
            events[event.transaction_id] = event
        return events

    def _event(self, transaction: dict[str, Any]) -> BrokerEvent:
        try:
            return self._translator.event(transaction)
        except BadInputError as error:
            number = _number(transaction)
            _log.error("unreadable transaction: reconcile", transaction_id=number, problem=error.message)
            return AccountChanged(number, 0, "UNREADABLE", amount=_ZERO)

    def _last(self, reply: Reply) -> int:
        text = str(reply.body.get("lastTransactionID", ""))
        if not text.isdigit():
            raise UnavailableError("transactions: the broker's answer has no lastTransactionID; try again")
        self._seen(int(text))
        return int(text)


def _number(transaction: dict[str, Any]) -> int:
    text = str(transaction.get("id", ""))
    if not text.isdigit():
        raise UnavailableError("transactions: the broker sent one without an id; try again")
    return int(text)
