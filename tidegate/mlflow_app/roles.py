"""The roles of the registry and what each may do in it."""

from enum import StrEnum
from typing import Any

WORKSPACE = "default"  # MLflow's only one unless workspaces are switched on


class Role(StrEnum):
    """Whom an account belongs to."""

    REVIEWER = "reviewer"  # approves and rejects
    ENGINEER = "engineer"  # logs runs, registers models, edits descriptions and tags of their own
    DESK = "desk"  # reads


# Permissions of MLflow, by kind of resource; all may read everything. Deleting is for the administrator alone.
_EDIT, _READ = "EDIT", "READ"
PERMISSIONS: dict[Role, dict[str, str]] = {
    Role.REVIEWER: {"experiment": _READ, "registered_model": _EDIT},
    Role.ENGINEER: {"experiment": _EDIT, "registered_model": _EDIT},
    Role.DESK: {"experiment": _READ, "registered_model": _READ},
}
WORDS: dict[Role, str] = {
    Role.REVIEWER: "Reads the evidence; approves or rejects a version.",
    Role.ENGINEER: "Trains and registers models; decides nothing.",
    Role.DESK: "Reads everything, changes nothing.",
}


def ensure_roles(store: Any) -> None:
    """Make the roles and their permissions in MLflow's account database; what is there stays.

    Args:
        store: ``mlflow.server.auth.store``.
    """
    known = {role.name: role for role in store.list_roles([WORKSPACE])}
    for role, permissions in PERMISSIONS.items():
        found = known.get(role) or store.create_role(role, WORKSPACE, WORDS[role])
        held = {(p.resource_type, p.resource_pattern) for p in store.list_role_permissions(found.id)}
        for kind, permission in permissions.items():
            if (kind, "*") not in held:
                store.add_role_permission(found.id, kind, "*", permission)
