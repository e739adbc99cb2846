"""One approval: the record that lets a model trade. Its hash makes it a link of the ledger's chain."""

from enum import StrEnum
from typing import Any, cast

import msgspec

from core.digest import digest_value


class Decision(StrEnum):
    """What the reviewer said."""

    APPROVED = "approved"
    REJECTED = "rejected"


class Scope(StrEnum):
    """What an approval covers. ``paper`` never trades on a live account."""

    PAPER = "paper"
    LIVE = "live"


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record of the ledger."""

    sequence: int
    time_ns: int
    strategy: str
    version: str
    model_digest: str
    evidence_digest: str
    decision: Decision
    scope: Scope
    by: str
    reason: str
    previous_hash: str
    hash: str = ""

    def computed_hash(self) -> str:
        """Return the hash that this record must carry."""
        fields = cast(dict[str, Any], msgspec.to_builtins(self))
        return digest_value({name: value for name, value in fields.items() if name != "hash"})
