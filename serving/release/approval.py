"""One approval: the record that lets a model trade. Its hash makes it a link of the ledger's chain."""

from enum import StrEnum
from typing import Any, cast

import msgspec

from core.digest import digest_value

_NOT_HASHED = ("hash", "signature")


class Decision(StrEnum):
    """What the reviewer said."""

    APPROVED = "approved"
    REJECTED = "rejected"
    SUPPORTED = "supported"  # the first of two: under the four-eyes rule it lets nothing trade and withdraws nothing


class Scope(StrEnum):
    """What an approval covers. ``paper`` never trades on a live account."""

    PAPER = "paper"
    LIVE = "live"


class Authentication(StrEnum):
    """How the platform knows who decided."""

    UNRECORDED = ""  # a record from before this was kept
    MLFLOW_BASIC_AUTH = "mlflow-basic-auth"  # the account with which the reviewer was signed in to MLflow
    OPERATING_SYSTEM = "operating-system"  # the account under which the command ran
    PLATFORM = "platform"  # no person: an automatic rollback
    UNAUTHENTICATED = "unauthenticated"  # an MLflow server that asks nobody who they are


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One record of the ledger.

    What is left at its default is not written, so that the hash of a record from before a field was added still holds.
    """

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
    user: str = ""  # the account, as ``authentication`` knows it; empty where nobody was asked
    authentication: Authentication = Authentication.UNRECORDED
    review: str = ""  # of the decision in the registry that this record is of: one record each
    key: str = ""  # that signed it; empty: from before records were signed
    hash: str = ""
    signature: str = ""  # of the hash, Ed25519 in base64

    def computed_hash(self) -> str:
        """Return the hash that this record must carry."""
        fields = cast(dict[str, Any], msgspec.to_builtins(self))
        return digest_value({name: value for name, value in fields.items() if name not in _NOT_HASHED})

    @property
    def signed(self) -> bool:
        """Whether the record says that it is signed; whether the signature holds is for ``ApprovalKeys.check``."""
        return bool(self.key)
