"""The transaction stream: every transaction once, in id order, whatever the connection does.

Ids are consecutive within an account. A line whose id is not the next one, or a heartbeat that knows of more, sends the
thread to the REST history; a repeated line is dropped.
"""

from typing import Any, cast

import orjson
from oandapyV20.endpoints.transactions import TransactionsStream

from core.domain import BrokerEvent
from core.errors import BadInputError
from trading.brokers.oanda.handover import Handover
from trading.brokers.oanda.history import TransactionHistory
from trading.brokers.oanda.stream import LineStream
from trading.brokers.v20.translate import Translator


class EventStream:
    """One reader of the account's transactions, from ``since_transaction_id`` on."""

    def __init__(
        self,
        environment: str,
        token: str,
        account_id: str,
        since_transaction_id: int,
        timeout_seconds: float,
        history: TransactionHistory,
        translator: Translator,
    ) -> None:
        self.events: Handover[BrokerEvent] = Handover()
        self._history = history
        self._translator = translator
        self._cursor = since_transaction_id
        self.stream = LineStream(
            "transaction",
            environment,
            token,
            TransactionsStream(account_id, params={}),
            timeout_seconds,
            self._catch_up,
            self._received,
            self.events.end,
        )

    def _catch_up(self) -> None:
        self._read_history()

    def _read_history(self) -> int:
        """Hand over what the broker has after the cursor; return the last id it knows."""
        events, last = self._history.read(self._cursor)
        if events:
            self._cursor = events[-1].transaction_id
            self.events.put(events)
        return last

    def _received(self, lines: list[bytes]) -> int:
        malformed = 0
        ready: list[BrokerEvent] = []
        for line in lines:
            try:
                message = cast(object, orjson.loads(line))
                if not isinstance(message, dict):
                    raise BadInputError("not an object")
                transaction = cast(dict[str, Any], message)
                heartbeat = transaction.get("type") == "HEARTBEAT"
                number = int(str(transaction["lastTransactionID" if heartbeat else "id"]))
                event = None if heartbeat or number <= self._cursor else self._translator.event(transaction)
            except (BadInputError, KeyError, ValueError):
                malformed += 1
                continue
            if number <= self._cursor:
                continue
            if event is None or number != self._cursor + 1:
                # Something before this line is missing: the history has it, in order, up to now.
                self.events.put(ready)
                ready = []
                last = self._read_history()
                if event is None or number <= self._cursor:
                    continue
                if number > last:
                    malformed += 1  # an id the broker itself does not know: were it used, real ones would be dropped
                    continue
            self._cursor = number
            ready.append(event)
        if ready:
            self.events.put(ready)
        return malformed
