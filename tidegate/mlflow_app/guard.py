"""Who may change what in the registry beyond MLflow's own permissions, which cannot tell one tag from another.

A pure rule: it knows names and roles, nothing of MLflow or HTTP. Administrators are no exception for the reviewers'
tags: the platform's own account must not be able to approve.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.mlflow_app.roles import Role

REVIEW_TAGS = frozenset({"approval", "approval_reason", "approval_scope"})
RELEASE_ALIASES = frozenset({"champion", "challenger", "shadow"})
_PLATFORM_PREFIXES = ("approval", "gate", "lineage")
_RELEASE_PREFIX = "release"


@dataclass(frozen=True)
class Change:
    """One thing that a request would change: a tag, an alias, or the model as a whole."""

    action: str
    model_name: str
    version: str = ""
    key: str = ""
    value: str = ""


def guarded(change: Change) -> bool:
    """Whether the change touches what only some may: such attempts are logged, allowed or not."""
    key = _plain(change.key)
    if change.action.endswith("_alias"):
        return key in RELEASE_ALIASES
    if change.action.endswith("_tag"):
        return _named(key, (*_PLATFORM_PREFIXES, _RELEASE_PREFIX))
    return change.action in ("delete_version", "delete_model", "rename_model")


def refusal(change: Change, roles: Iterable[str], *, platform: bool) -> str | None:
    """Return why an account may not make a change, None when it may as far as this rule goes.

    Args:
        change: what would be changed.
        roles: of the account.
        platform: whether it is the platform's own account.
    """
    if not guarded(change):
        return None
    key, reviewer = _plain(change.key), Role.REVIEWER in set(roles)
    if change.action.endswith("_alias"):
        if reviewer or platform:
            return None
        return f"the alias {change.key} is moved by releases: only reviewers and the platform may touch it"
    if change.action.endswith("_tag"):
        # What MLflow's database takes for the same key must not slip by, hence the exact spelling.
        if key in REVIEW_TAGS:
            if change.key != key:
                return f"the tag {change.key!r} reads like {key!r}: write it exactly so"
            withdrawn = platform and change.action == "delete_tag"  # the platform empties the form, it fills none
            return None if reviewer or withdrawn else f"only accounts of role reviewer may set the tag {change.key}"
        if _named(key, (_RELEASE_PREFIX,)):
            return None if reviewer or platform else f"the tag {change.key} is written by releases and reviewers"
        return None if platform else f"the tag {change.key} is written by the platform alone"
    return None if platform else f"what {change.model_name} holds is evidence: only the platform may take it away"


def _plain(key: str) -> str:
    return key.strip().casefold()


def _named(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith((f"{prefix}.", f"{prefix}_")) for prefix in prefixes)
