"""Ask for a review, and list what the watch over registry and approvals has raised."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from serving.release.alerts import AlertLedger
from serving.release.publish import registry_client
from serving.release.review_requests import ReviewRequests, request_review
from tidegate.platform import Addresses
from tidegate.release import release_room


def ask_for_review(
    addresses: Addresses, name: str, version: str, *, requested_by: str, days: float, remind_days: float
) -> dict[str, Any]:
    """Let a version wait for a reviewer; one that waits already goes on waiting as it was asked first.

    Args:
        addresses: of the platform.
        name, version: the registered version.
        requested_by: who asks.
        days: after which the request expires.
        remind_days: between two reminders.

    Raises:
        BadInputError: there is no such version, or a duration is not above zero.
        UnavailableError: registry or database does not answer.
    """
    with release_room(addresses) as room:
        requests = ReviewRequests(room.approvals.engine, room.clock)
        request = request_review(
            registry_client(room.settings),
            requests,
            name,
            version,
            requested_by=requested_by,
            days=days,
            remind_days=remind_days,
        )
    return {**msgspec.to_builtins(request), "due": _moment(request.due_ns)}


def list_alerts(addresses: Addresses, name: str, *, open_only: bool = False) -> list[dict[str, Any]]:
    """Return the recorded alerts of a model, oldest first: when it was raised or cleared, what, and what to do.

    Raises:
        IntegrityError: the record of alerts was edited.
        UnavailableError: the database does not answer.
    """
    with release_room(addresses) as room:
        ledger = AlertLedger(room.approvals.engine, room.clock)
        standing = {record.sequence for record in ledger.open()}
        records = [record for record in ledger.records() if record.model_name == name]
    return [
        {**msgspec.to_builtins(record), "time": _moment(record.time_ns), "open": record.sequence in standing}
        for record in records
        if not open_only or record.sequence in standing
    ]


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")
