"""Barred approvals: what a rollback took back may not get traffic again before somebody approves it anew.

A bar is on the record of one approval, not on the model: a new approval of the same version is another record, and
lifts it by being there. Bars are a file beside the policy, so that they hold while the database is away; a damaged
file is made again from the records of the rollbacks.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from core.digest import canonical_json
from core.errors import IntegrityError, RefusedError
from core.files import write_bytes
from core.logging import get_logger
from serving.release.approval import Approval

BARS_FILE = "barred.json"
_RECORDS = ("rollbacks/*.json", "rollback.json")  # of serving.release.rollback_record: each holds its bars
_log = get_logger("serving")


class Bar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One approval that no longer lets its version trade."""

    approval_hash: str
    approval_sequence: int
    version: str
    model_digest: str
    evidence_digest: str
    rollback_id: str
    time_ns: int
    reason: str

    @classmethod
    def of(cls, approval: Approval, *, rollback_id: str, time_ns: int, reason: str) -> "Bar":
        """Return the bar on an approval."""
        return cls(
            approval_hash=approval.hash,
            approval_sequence=approval.sequence,
            version=approval.version,
            model_digest=approval.model_digest,
            evidence_digest=approval.evidence_digest,
            rollback_id=rollback_id,
            time_ns=time_ns,
            reason=reason,
        )


class _Record(msgspec.Struct):
    """The part of a rollback's record that is needed here."""

    bars: tuple[Bar, ...]


def read_bars(folder: Path) -> tuple[Bar, ...]:
    """Return the bars of a strategy's folder, oldest first.

    Raises:
        IntegrityError: the file and the records behind it are damaged. It is then unknown what is barred.
    """
    path = folder / BARS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Bar, ...])
    except FileNotFoundError:
        return ()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.error("bars are damaged: made again from the rollbacks", path=str(path), words=str(error))
        return _from_records(folder)


def _from_records(folder: Path) -> tuple[Bar, ...]:
    found: dict[str, Bar] = {}
    for path in sorted(path for pattern in _RECORDS for path in folder.glob(pattern)):
        try:
            bars = msgspec.json.decode(path.read_bytes(), type=_Record).bars
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IntegrityError(f"{path} is malformed: {error}; restore it from a backup") from None
        found |= {bar.approval_hash: bar for bar in bars if bar.approval_hash not in found}
    return tuple(found.values())


def add_bars(folder: Path, bars: Sequence[Bar]) -> None:
    """Add bars, durably. An approval that is barred already keeps its first bar."""
    standing = read_bars(folder)
    known = {bar.approval_hash for bar in standing}
    content = canonical_json(msgspec.to_builtins((*standing, *(b for b in bars if b.approval_hash not in known))))
    path = folder / BARS_FILE
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)


def refuse_barred(folder: Path, *approvals: Approval | None) -> None:
    """Refuse approvals that a rollback barred.

    Raises:
        RefusedError: one of them is barred; the message says why and how the bar is lifted.
        IntegrityError: see ``read_bars``.
    """
    barred = {bar.approval_hash: bar for bar in read_bars(folder)}
    for approval in approvals:
        bar = barred.get(approval.hash) if approval is not None else None
        if bar is not None:
            raise RefusedError(
                f"version {bar.version} of {folder.name} was rolled back ({bar.reason}) and stays barred until "
                f'somebody approves it anew: `tidegate approve {bar.version} --reason "…"`'
            )
