"""The hash chain of the release ledger: what a record's hash covers, and what a chain of records comes to."""

from collections.abc import Sequence
from typing import Any

import msgspec

from core.digest import digest_value
from core.errors import IntegrityError, RefusedError
from serving.release.states import Release, Transition, TransitionRecord, check_way, follow

GENESIS = "0" * 64


def computed_hash(record: TransitionRecord) -> str:
    """Return the hash that a record must carry."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    return digest_value({name: value for name, value in fields.items() if name != "hash"})


def replay(records: Sequence[TransitionRecord]) -> dict[str, Release]:
    """Return what transitions come to, by release.

    Raises:
        IntegrityError: a record was edited, a link is missing, or a way was taken that does not exist.
    """
    found: dict[str, Release] = {}
    previous = GENESIS
    for position, record in enumerate(records, start=1):
        if record.sequence != position:
            raise broken(f"record {position} is missing, found {record.sequence} in its place")
        if record.previous_hash != previous:
            raise broken(f"record {position} follows {record.previous_hash}, expected {previous}")
        if record.hash != computed_hash(record):
            raise broken(f"record {position} was edited: hash {record.hash}, expected {computed_hash(record)}")
        before = found.get(record.release_id)
        if (
            record.before != (str(before.state) if before else "")
            or record.number != (before.number if before else 0) + 1
        ):
            raise broken(f"record {position} begins at {record.before or 'nothing'}, its release stands elsewhere")
        try:
            check_way(before, _transition(record))
        except RefusedError as error:
            raise broken(f"record {position}: {error.message}") from None
        found[record.release_id] = follow(before, record)
        previous = record.hash
    return found


def check_head(head: tuple[int, str] | None, last: TransitionRecord | None) -> None:
    """Check that the head repeats the last record.

    Raises:
        IntegrityError: it does not.
    """
    found = (last.sequence, last.hash) if last else (0, GENESIS)
    expected = tuple(head) if head else (0, GENESIS)
    if found != expected:
        raise broken(f"the last record is {found[0]} ({found[1]}), the head says {expected[0]} ({expected[1]})")


def broken(words: str) -> IntegrityError:
    """Return the error for a ledger that does not hold."""
    return IntegrityError(f"release ledger broken: {words}; restore it from a backup and look who changed it")


def _transition(record: TransitionRecord) -> Transition:
    return Transition(
        to=record.after,
        cause=record.cause,
        reason=record.reason,
        step=record.step,
        figures=record.figures,
        approval=record.approval,
        against=record.against,
        market_ns=record.market_ns,
    )
