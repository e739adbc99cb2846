"""Where the checker reads: the broker's pages over plain HTTP, ledger rows in plain SQL, and the journal's entries."""

import http.client
import json
import sqlite3
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from core.errors import UnavailableError
from core.journal import Entry, read_entries


class BrokerPages:
    """An account as its broker shows it to anybody with the token."""

    def __init__(self, url: str, token: str, account: str, timeout_seconds: float = 10.0) -> None:
        self._address = urlsplit(url).netloc
        self._account = account
        self._headers = {"Authorization": f"Bearer {token}"}
        self._timeout = timeout_seconds

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one request and return the JSON of its reply.

        Raises:
            UnavailableError: no answer, or not 200.
        """
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout)
        try:
            content = json.dumps(body).encode() if body is not None else None
            connection.request(method, path, content, self._headers)
            reply = connection.getresponse()
            text = reply.read()
        except OSError as error:
            raise UnavailableError(f"broker does not answer {method} {path}: {error}") from None
        finally:
            connection.close()
        if reply.status != 200:
            raise UnavailableError(f"broker answers {reply.status} to {method} {path}: {text[:200]!r}")
        return json.loads(text)

    def account(self) -> dict[str, Any]:
        """The account's summary."""
        return self._get("/summary")["account"]

    def pending_orders(self) -> list[dict[str, Any]]:
        """Every order that waits, attached ones included."""
        return self._get("/pendingOrders")["orders"]

    def positions(self) -> dict[str, Decimal]:
        """Signed units by instrument, none of them zero."""
        return {
            item["instrument"]: Decimal(item["long"]["units"]) + Decimal(item["short"]["units"])
            for item in self._get("/openPositions")["positions"]
        }

    def transactions(self) -> list[dict[str, Any]]:
        """Every transaction of the account from the first one on, in the order of their ids."""
        last = int(self.account()["lastTransactionID"])
        found: list[dict[str, Any]] = []
        for first in range(1, last + 1, 1000):
            page = self._get(f"/transactions/idrange?from={first}&to={min(first + 999, last)}")
            found += page["transactions"]
        return found

    def _get(self, path: str) -> dict[str, Any]:
        return self.request("GET", f"/v3/accounts/{self._account}{path}")


class LedgerRows:
    """The rows of one session, by plain ``SELECT``.

    Args:
        url: a SQLite file's path, or a PostgreSQL connection string.
        session_id: whose rows.
    """

    def __init__(self, url: str, session_id: str) -> None:
        self._url = url
        self._session = session_id
        self._read: dict[str, list[dict[str, Any]]] = {}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return every row of a table, read once."""
        if table not in self._read:
            self._read[table] = self._select(table)
        return self._read[table]

    def _select(self, table: str) -> list[dict[str, Any]]:
        if "host=" in self._url:
            import psycopg
            from psycopg.rows import dict_row

            with psycopg.connect(self._url) as connection, connection.cursor(row_factory=dict_row) as cursor:
                text = f"SELECT * FROM {table} WHERE session_id = %s"
                return list(cursor.execute(text.encode(), (self._session,)))
        file = sqlite3.connect(f"file:{self._url}?mode=ro", uri=True, timeout=10)
        file.row_factory = sqlite3.Row
        try:
            found = file.execute(f"SELECT * FROM {table} WHERE session_id = ?", (self._session,)).fetchall()
        finally:
            file.close()
        return [dict(row) for row in found]


@dataclass(frozen=True)
class Written:
    """Where an order stands in the journal."""

    sequence: int
    time_ns: int
    durable: bool
    units: Decimal
    decision_id: str = ""


@dataclass
class JournalFacts:
    """What a journal says about orders, read without the records' own types."""

    submitted: dict[str, Written] = field(default_factory=dict)  # by client order id; replacements too
    first_said: dict[str, int] = field(default_factory=dict)  # first entry with an answer of the broker, by client id
    decisions: dict[str, Decimal] = field(default_factory=dict)  # unsigned units a decision asked for
    cancelled: set[str] = field(default_factory=set)  # client ids whose cancellation was asked for
    amended: set[str] = field(default_factory=set)  # client ids whose replacement was asked for
    sent_while_stopped: list[str] = field(default_factory=list)
    tolerance_ns: int = 0  # how far the broker's clock may be ahead of the trader's

    @classmethod
    def read(cls, directory: Path, tolerance_ns: int = 0) -> "JournalFacts":
        """Read a journal; an empty or missing one has no facts."""
        facts = cls(tolerance_ns=tolerance_ns)
        if not any(directory.glob("*.journal")):
            return facts
        stopped = False
        for entry in read_entries(directory):
            match entry.kind:
                case "submitted":
                    order = facts._submitted(entry, "order")
                    if stopped and not order["reduce_only"]:
                        facts.sent_while_stopped.append(order["client_order_id"])
                case "amend_requested":
                    order = facts._submitted(entry, "replacement")
                    facts.amended.add(_body(entry)["client_order_id"])
                    if stopped:
                        facts.sent_while_stopped.append(order["client_order_id"])
                case "cancel_requested":
                    facts.cancelled.add(_body(entry)["client_order_id"])
                case "decision":
                    body = _body(entry)
                    if body["order"] is not None:
                        facts.decisions[body["decision_id"]] = abs(Decimal(body["order"]["units"]))
                case "broker":
                    event = _body(entry)["event"]
                    name = event.get("client_order_id") or event.get("fill", {}).get("client_order_id") or ""
                    facts.first_said.setdefault(name, entry.sequence)
                case "kill_switch":
                    stopped = bool(_body(entry)["on"])
                case _:
                    pass
        return facts

    def _submitted(self, entry: Entry, key: str) -> dict[str, Any]:
        order: dict[str, Any] = {"reduce_only": False, "decision_id": ""} | _body(entry)[key]
        written = Written(
            entry.sequence, entry.time_ns, entry.durable, Decimal(order["units"]), str(order["decision_id"])
        )
        self.submitted.setdefault(order["client_order_id"], written)
        return order


def _body(entry: Entry) -> dict[str, Any]:
    return msgspec.msgpack.decode(entry.payload)
