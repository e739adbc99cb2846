"""One request as the endpoints see it, and readers for what it carries."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from trading.matching.schedule import parse_time
from trading.matching.transactions import AnyTransaction
from trading.practice.replies import ProtocolError, Reply, invalid
from trading.practice.venue import Venue

Body = TypeVar("Body")


@dataclass(frozen=True)
class Call:
    """Path parameters, query and body of a request."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    content: bytes
    address: str = ""  # the path that was asked for

    def body(self, kind: type[Body]) -> Body:
        """Read the body.

        Raises:
            ProtocolError: 400, naming the field that cannot be read.
        """
        try:
            return msgspec.json.decode(self.content or b"{}", type=kind, strict=False)
        except msgspec.ValidationError as error:
            where = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else "body"
            raise invalid(where) from None
        except msgspec.DecodeError:
            raise ProtocolError(400, "Invalid JSON, ParseErrorCode: 1, Message: Invalid value.") from None

    def number(self, name: str, default: int | None = None, least: int = 0) -> int | None:
        """Read a whole number of the query."""
        text = self.query.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise invalid(name)
        return int(text)

    def flag(self, name: str, default: bool) -> bool:
        """Read a boolean of the query."""
        text = self.query.get(name)
        if text is None:
            return default
        if text.lower() not in ("true", "false"):
            raise invalid(name)
        return text.lower() == "true"

    def time(self, name: str) -> int | None:
        """Read a time of the query, RFC 3339 or UNIX."""
        text = self.query.get(name)
        if text is None:
            return None
        try:
            return parse_time(text)
        except ValueError:
            raise invalid(name) from None

    def names(self, name: str) -> list[str] | None:
        """Read a comma-separated list of the query."""
        text = self.query.get(name)
        return None if text is None else [item for item in text.replace("%2C", ",").split(",") if item]


def decimal(text: str, name: str) -> Decimal:
    """Read a decimal number.

    Raises:
        ProtocolError: 400.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise invalid(name) from None
    if not value.is_finite():
        raise invalid(name)
    return value


def ids_of(venue: Venue, transactions: list[AnyTransaction]) -> dict[str, Any]:
    """Return the ids every reply to a command ends with."""
    return {
        "relatedTransactionIDs": [transaction.id for transaction in transactions],
        "lastTransactionID": venue.exchange.log.last_id,
    }


def with_last(venue: Venue, body: dict[str, Any]) -> Reply:
    """Return a 200 with ``lastTransactionID``."""
    return Reply(200, body | {"lastTransactionID": venue.exchange.log.last_id})


def next_page(venue: Venue, call: Call, last_id: str) -> str:
    """Return the ``Link`` header to the entries older than ``last_id``: a full page may not be the last."""
    query = urlencode({**call.query, "beforeID": last_id})
    return f'<{venue.base_url}{call.address}?{query}>; rel="next"'
