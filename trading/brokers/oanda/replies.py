"""What a broker's HTTP answer means: an answer that was read, or the error that tells the caller what to do."""

from dataclasses import dataclass
from typing import Any, cast

import orjson

from core.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    RateLimitedError,
    TidegateError,
    UnavailableError,
)
from trading.brokers.oanda.secrecy import clean


@dataclass(frozen=True)
class Reply:
    """A broker's answer that was read in full: success or a refusal it explains."""

    status: int
    body: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether the status is a success."""
        return self.status < 300

    @property
    def error(self) -> str:
        """The broker's error code or message, safe to show."""
        text = str(self.body.get("errorCode") or self.body.get("errorMessage") or f"HTTP {self.status}")
        return clean(text)[:200]


def refusal(status: int, text: bytes | str, what: str, money: bool, retry_after: str) -> Reply | TidegateError:
    """Return what a status of 400 and above means: an explained refusal, or the error to raise.

    Args:
        status: of the answer.
        text: its body.
        what: was asked for, for the message.
        money: whether the request can move money: then a failure of the broker leaves its outcome unknown.
        retry_after: the header of that name, or nothing.
    """
    if status == 401:
        return ConfigurationError(f"{what}: the broker refuses the token (401): check TIDEGATE_OANDA__TOKEN")
    if status == 403:
        return ConfigurationError(
            f"{what}: the broker forbids it (403): check TIDEGATE_OANDA__ACCOUNT_ID and what the token may do"
        )
    if status == 429:
        return RateLimitedError(f"{what}: the broker asks for fewer requests (429); wait", _seconds(retry_after))
    if status >= 500:
        if money:
            return OutcomeUnknownError(f"{what}: the broker failed (HTTP {status}); ask what became of it")
        return UnavailableError(f"{what}: the broker failed (HTTP {status}); try again")
    return Reply(status, object_of(text) or {})


def unreadable(what: str, money: bool) -> TidegateError:
    """Return the error for an answer that is not one of the protocol."""
    if money:
        return OutcomeUnknownError(f"{what}: the broker's reply cannot be read; ask what became of it")
    return UnavailableError(f"{what}: the broker's reply cannot be read; try again")


def object_of(text: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object in ``text``, ``None`` where there is none."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return cast(dict[str, Any], body) if isinstance(body, dict) else None


def _seconds(header: str) -> float:
    try:
        return max(0.0, float(header))
    except ValueError:
        return 1.0  # absent, or a date: the documented limit is per second
