"""HTTP replies as the real server words them."""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.clock import from_rfc3339

ENCODER = msgspec.json.Encoder()
_TIME = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)"')

MESSAGES = {
    "PRICE_PRECISION_EXCEEDED": "The price specified contains more precision than is allowed for the instrument",
    "INSTRUMENT_UNKNOWN": "The instrument specified is not known by the V20 platform",
    "INSTRUMENT_MISSING": "The instrument has not been specified",
    "UNITS_MISSING": "The Order units have not been specified",
    "UNITS_INVALID": "Order units specified are invalid",
    "UNITS_PRECISION_EXCEEDED": "The units specified contain more precision than is allowed for the instrument",
    "UNITS_LIMIT_EXCEEDED": "The units specifies exceeds the maximum number of units allowed",
    "UNITS_MIMIMUM_NOT_MET": "The units specified is less than the minimum number of units required",
    "PRICE_MISSING": "The price has not been specified",
    "PRICE_INVALID": "The price specified is invalid",
    "ORDER_DOESNT_EXIST": "The Order specified does not exist",
    "TRADE_DOESNT_EXIST": "The Trade specified does not exist",
    "CLIENT_ORDER_ID_ALREADY_EXISTS": "The client Order ID is already in use",
    "CLOSEOUT_POSITION_DOESNT_EXIST": "The Position requested to be closed out does not exist",
    "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE": "The request closes more units than the Trade has",
    "TIME_IN_FORCE_INVALID": "The timeInForce specified is invalid",
}


@dataclass
class Reply:
    """Status and body; a body is what msgspec can write."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict[str, str])


class ProtocolError(Exception):
    """A request that gets an error reply without a transaction."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        body = {"errorMessage": message}
        if code is not None:
            body["errorCode"] = code
        self.reply = Reply(status, body)


def message_of(reason: str) -> str:
    """Return the sentence that goes with a reject reason."""
    return MESSAGES.get(reason, reason.replace("_", " ").capitalize())


def invalid(name: str) -> ProtocolError:
    """Return the reply to a value that cannot be read."""
    return ProtocolError(400, f"Invalid value specified for '{name}'")


def encode(body: Any, unix_times: bool) -> bytes:
    """Write a body; with ``unix_times`` every time is seconds with nine decimals."""
    content = ENCODER.encode(body)
    return with_unix_times(content) if unix_times else content


def with_unix_times(content: bytes) -> bytes:
    """Rewrite every time of a JSON text as seconds with nine decimals."""
    return _TIME.sub(_unix, content)


def _unix(match: re.Match[bytes]) -> bytes:
    seconds, nanoseconds = divmod(from_rfc3339(match.group(1).decode()), 1_000_000_000)
    return b'"%d.%09d"' % (seconds, nanoseconds)
