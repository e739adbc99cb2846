"""What a reviewer set on a version's page: the tags ``approval``, ``approval_reason`` and ``approval_scope`` as a form.

Pure: tags, the access log's entries and what was read before go in, one reading comes out. With accounts a decision is
one attempt in the log, so that the same words set a second time are a second decision. Without, it is a change of the
tag: MLflow keeps neither who nor when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from serving.release.access import Access
from serving.release.approval import Authentication, Decision, Scope

APPROVAL, REASON, SCOPE = "approval", "approval_reason", "approval_scope"
_FORM = (APPROVAL, REASON, SCOPE)


class Reading(StrEnum):
    """What a form comes to."""

    EMPTY = "empty"
    KNOWN = "known"  # was read before
    INCOMPLETE = "incomplete"  # something is missing or misspelt; the words say what
    FORGED = "forged"  # a tag that the server did not let anybody set
    COMPLETE = "complete"


@dataclass(frozen=True)
class Before:
    """What was read of a version last; see ``review_tables``."""

    seen: str = ""
    count: int = 0
    decision: str = ""
    reason: str = ""
    outcome: str = ""
    sequence: int = 0


@dataclass(frozen=True)
class Form:
    """One reading. ``occurrence`` and ``count`` are what is to be remembered of it."""

    reading: Reading
    words: str = ""
    decision: Decision = Decision.REJECTED
    reason: str = ""
    scope: Scope = Scope.PAPER
    user: str = ""
    authentication: Authentication = Authentication.UNAUTHENTICATED
    occurrence: str = ""
    count: int = 0
    moment_ns: int = 0  # of the latest attempt it rests on; 0: unknown


def read_form(tags: Mapping[str, str], before: Before, log: Sequence[Access] | None) -> Form:
    """Read the form of a version.

    Args:
        tags: of the version.
        before: what was read of it last.
        log: attempts about this version, oldest first; None: the registry asks nobody who they are.
    """
    raw = tags.get(APPROVAL)
    if raw is None:
        return Form(Reading.EMPTY, count=before.count)
    entries: dict[str, Access] = {}
    asked = asked_for(tags)
    if log is None:
        same = before.seen != "" and before.decision == asked
        count = before.count if same else before.count + 1
        occurrence = f"{count}:{asked}"
    else:
        entries = {key: last for key in _FORM if (last := _last(log, key)) is not None}
        forged = [key for key in _FORM if key in tags and not _holds(entries.get(key), tags[key])]
        if forged:
            words = f"the tag {forged[0]} was not set through the server by a reviewer: set it again on this page"
            newest = max((entry.time_ns for entry in log), default=0)
            return Form(Reading.FORGED, words, occurrence=f"forged:{forged[0]}:{tags[forged[0]]}", moment_ns=newest)
        occurrence, count = f"{entries[APPROVAL].id}:{asked}", max(entry.sequence for entry in entries.values())
    if occurrence == before.seen:
        return Form(Reading.KNOWN, occurrence=occurrence, count=count)
    reason, user = tags.get(REASON, "").strip(), entries[APPROVAL].user if entries else ""
    words = _missing(tags, raw, reason, before, entries)
    if words:
        return Form(Reading.INCOMPLETE, words, count=before.count)
    return Form(
        Reading.COMPLETE,
        decision=Decision(raw.strip().lower()),
        reason=reason,
        scope=Scope(tags.get(SCOPE, Scope.PAPER).strip().lower()),
        user=user,
        authentication=Authentication.MLFLOW_BASIC_AUTH if entries else Authentication.UNAUTHENTICATED,
        occurrence=occurrence,
        count=count,
        moment_ns=max((entry.time_ns for entry in entries.values()), default=0),
    )


def asked_for(tags: Mapping[str, str]) -> str:
    """Return decision and scope as they are set; another scope is another decision."""
    return f"{tags[APPROVAL]}:{tags.get(SCOPE, Scope.PAPER)}"


def _missing(tags: Mapping[str, str], raw: str, reason: str, before: Before, entries: Mapping[str, Access]) -> str:
    """Return what the reviewer has to put right, empty where nothing."""
    if raw.strip().lower() not in (Decision.APPROVED, Decision.REJECTED):
        return f"the tag approval says {raw[:40]!r}: set it to approved or rejected"
    if tags.get(SCOPE, Scope.PAPER).strip().lower() not in set(Scope):
        return f"the tag approval_scope says {tags[SCOPE][:40]!r}: set it to paper or live"
    if not reason:
        return f"approval is {raw.strip().lower()}, without a reason nothing is recorded: set the tag approval_reason"
    if entries:
        given = entries[REASON]
        if given.user != entries[APPROVAL].user:
            return (
                f"approval was set by {entries[APPROVAL].user}, approval_reason by {given.user}: one person decides, "
                "set both"
            )
        if before.sequence and given.sequence <= before.count:
            return "approval_reason is that of the last decision: set it again for this one"
    elif before.sequence and reason == before.reason:
        return "approval_reason is that of the last decision: write the reason of this one"
    return ""


def _last(log: Sequence[Access], key: str) -> Access | None:
    return next((entry for entry in reversed(log) if entry.key == key and entry.allowed), None)


def _holds(entry: Access | None, value: str) -> bool:
    """Whether a tag is what the last allowed attempt at it left."""
    return entry is not None and entry.action == "set_tag" and entry.value == value
