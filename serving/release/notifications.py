"""Notifications: one structured log line, one line of ``<state>/notifications.jsonl``, one request to a webhook.

A notification has an id: saying it again, after a kill for instance, adds no second line. The receiver of the webhook
finds the id in the header ``Idempotency-Key``, because a request whose answer was lost is made again.
"""

import fcntl
import os
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from core.clock import to_rfc3339
from core.errors import UnavailableError
from core.logging import get_logger
from serving.release.findings import Severity

NOTIFICATIONS_FILE = "notifications.jsonl"
_TIMEOUT_SECONDS = 3.0
_LOOK_BACK = 1 << 20  # bytes: thousands of notifications; what is said again is said soon
_log = get_logger("serving")


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a person should know.

    Attributes:
        notification_id: the same thing said again has the same one.
        time_ns: when it happened.
        severity: critical wakes somebody up.
        subject: the headline.
        words: what happened, to what, and what to do next.
        figures: what it rests on.
        link: of a page to read.
    """

    notification_id: str
    time_ns: int
    severity: Severity
    subject: str
    words: str
    figures: dict[str, Any] = {}
    link: str = ""


class NotificationSink:
    """Where notifications go."""

    def __init__(self, state: Path, webhook_url: SecretStr | None = None) -> None:
        """``webhook_url`` takes the notification as the JSON body of a POST; None: nobody does."""
        self._path = state / NOTIFICATIONS_FILE
        self._webhook_url = webhook_url

    def send(self, notification: Notification) -> str:
        """Log, write and post a notification; return in words where it went.

        Raises:
            UnavailableError: the webhook or the file did not take it; say it again later.
        """
        if self._write(notification):
            _log.warning(
                "notification",
                subject=notification.subject,
                severity=notification.severity.value,
                words=notification.words,
                notification=notification.notification_id,
            )
        if self._webhook_url is None:
            return f"noted in {NOTIFICATIONS_FILE}"
        self._post(notification, self._webhook_url.get_secret_value())
        return f"noted in {NOTIFICATIONS_FILE}, taken by the webhook"

    def read(self) -> list[Notification]:
        """Return all notifications, oldest first; a torn last line is left out."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [found for line in lines if (found := _decoded(line)) is not None]

    def _write(self, notification: Notification) -> bool:
        """Append a line unless one with its id is there; return whether it was new."""
        line = msgspec.json.encode({**msgspec.to_builtins(notification), "time": to_rfc3339(notification.time_ns)})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOOK_BACK))
                content = stream.read()
                known = {found.notification_id for part in content.split(b"\n") if (found := _decoded(part))}
                if notification.notification_id in known:
                    return False
                # A line torn by a kill stays torn; the next one begins on its own.
                stream.write((b"\n" if content and not content.endswith(b"\n") else b"") + line + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise UnavailableError(
                f"{self._path} cannot be written: {error.strerror}; make room or give rights"
            ) from error
        return True

    def _post(self, notification: Notification, url: str) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": notification.notification_id}
        try:
            request = urllib.request.Request(url, msgspec.json.encode(notification), headers, method="POST")
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                answer.read(1)
        except (OSError, ValueError) as error:
            # Never the address: tokens are part of it.
            reason = getattr(error, "code", None) or getattr(error, "reason", None) or type(error).__name__
            raise UnavailableError(f"the notification webhook did not take it: {reason}; see its settings") from None


def _decoded(line: bytes) -> Notification | None:
    try:
        return msgspec.json.decode(line, type=Notification) if line.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
