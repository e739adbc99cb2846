"""What is written about one rollback: the intent before anything moves, then each step as it is done.

``<state>/serving/<strategy>/rollback.json`` is the rollback under way; once the policy is in force the record lies in
``<strategy>/rollbacks/<id>.json``, where the steps that need other services are added. A record is replaced whole, so
that a kill leaves it either with or without a step.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from core.digest import canonical_json
from core.errors import IntegrityError
from core.files import write_bytes
from serving.release.approval import Approval
from serving.release.bars import Bar
from serving.release.findings import Trigger
from serving.store import Pointer

INTENT_FILE = "rollback.json"
ARCHIVE_FOLDER = "rollbacks"


class Positions(StrEnum):
    """What becomes of the open positions at a rollback."""

    KEEP = "keep"  # the version that answers now decides on them
    REDUCE = "reduce"  # only orders that lower a position go out, until a person lifts it
    FLATTEN = "flatten"  # the kill switch closes them and holds all trading, until a person lifts it


class StepName(StrEnum):
    """The steps, in their order. Those up to ``POSITIONS`` need files only."""

    BARS = "bars"  # what is taken back is barred
    POLICY = "policy"  # the replicas' policy is written
    POSITIONS = "positions"
    NOTIFICATION = "notification"
    CHECK = "check"  # the replicas answer with the new policy
    APPROVALS = "approvals"  # a rejection stands in the approval ledger
    RELEASE = "release"  # the release under way is rolled back in its ledger
    REGISTRY = "registry"  # aliases and tags
    REPORT = "report"


class StepDone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step that is done. ``words`` says what came of it."""

    name: StepName
    time_ns: int
    words: str


class RollbackRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rollback.

    Attributes:
        rollback_id: the policy revision it started from, six digits: one rollback per revision.
        trigger: why, with the figure.
        actor: who: ``guard``, or a person.
        before: the whole policy as it was.
        target: the approval of the version that answers from now on; None where nobody does.
        flat: why nobody answers; empty with a target.
        bars: on what is taken back.
        answering: figures of the arms at the moment of the trigger, as the guard saw them.
        revision: of the policy that took it back; None until it is written.
        steps: what is done, in the order of its doing.
    """

    rollback_id: str
    strategy: str
    trigger: Trigger
    actor: str
    time_ns: int
    before: Pointer
    target: Approval | None
    flat: str
    bars: tuple[Bar, ...]
    positions: Positions
    answering: tuple[dict[str, Any], ...] = ()
    revision: int | None = None
    steps: tuple[StepDone, ...] = ()

    @property
    def pending(self) -> tuple[StepName, ...]:
        """The steps that are not done, in their order."""
        done = {step.name for step in self.steps}
        return tuple(name for name in StepName if name not in done)

    @property
    def in_force(self) -> bool:
        """Whether the policy is written."""
        return self.step(StepName.POLICY) is not None

    @property
    def taken_back(self) -> tuple[str, ...]:
        """The versions that were taken back."""
        return tuple(bar.version for bar in self.bars)

    @property
    def target_words(self) -> str:
        """What answers from now on."""
        return f"version {self.target.version}" if self.target is not None else "nobody (flat)"

    def step(self, name: StepName) -> StepDone | None:
        """Return a step that is done."""
        return next((step for step in self.steps if step.name == name), None)

    def with_step(self, name: StepName, time_ns: int, words: str, **changes: Any) -> "RollbackRecord":
        """Return the record with one more step done."""
        done = StepDone(name=name, time_ns=time_ns, words=words)
        return msgspec.structs.replace(self, steps=(*self.steps, done), **changes)


def write_record(folder: Path, record: RollbackRecord) -> None:
    """Write a record of the strategy whose folder this is: as the intent, or into the archive once it is in force."""
    content = canonical_json(msgspec.to_builtins(record))
    if not record.in_force:
        write_bytes(folder / INTENT_FILE, content)
        return
    write_bytes(folder / ARCHIVE_FOLDER / f"{record.rollback_id}.json", content)
    intent = read_intent(folder)
    if intent is not None and intent.rollback_id == record.rollback_id:
        (folder / INTENT_FILE).unlink()


def read_intent(folder: Path) -> RollbackRecord | None:
    """Return the rollback under way, None where there is none.

    Raises:
        IntegrityError: the file is damaged.
    """
    path = folder / INTENT_FILE
    return _read(path) if path.exists() else None


def read_records(folder: Path) -> list[RollbackRecord]:
    """Return all rollbacks of a strategy, oldest first; one under way is the last.

    Raises:
        IntegrityError: a file is damaged.
    """
    archived = [_read(path) for path in sorted((folder / ARCHIVE_FOLDER).glob("*.json"))]
    intent = read_intent(folder)
    if intent is not None and all(record.rollback_id != intent.rollback_id for record in archived):
        archived.append(intent)
    return archived


def newest_record(folder: Path) -> RollbackRecord | None:
    """Return the newest rollback of a strategy, None where there was none. Reads one file, or two.

    Raises:
        IntegrityError: a file is damaged.
    """
    intent = read_intent(folder)
    if intent is not None:
        return intent
    archived = max((folder / ARCHIVE_FOLDER).glob("*.json"), default=None)
    return None if archived is None else _read(archived)


def _read(path: Path) -> RollbackRecord:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RollbackRecord)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"rollback record {path} cannot be read: {error}; restore it from a backup") from None
