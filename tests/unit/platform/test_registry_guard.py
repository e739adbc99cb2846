"""Who may change what in the registry, as a rule without a server."""

import pytest

from tidegate.mlflow_app.guard import Change, refusal


@pytest.mark.parametrize(
    ("change", "reviewer", "engineer", "platform"),
    [
        (Change("set_tag", "m", "1", "approval", "approved"), True, False, False),
        (Change("set_tag", "m", "1", "approval_reason", "why"), True, False, False),
        (Change("set_tag", "m", "1", "approval_scope", "live"), True, False, False),
        (Change("delete_tag", "m", "1", "approval"), True, False, True),
        (Change("set_tag", "m", "1", " Approval", "approved"), False, False, False),
        (Change("set_tag", "m", "1", "approval_status", "x"), False, False, True),
        (Change("set_tag", "m", "1", "approval.user", "x"), False, False, True),
        (Change("set_tag", "m", "", "gate.verdict", "passed"), False, False, True),
        (Change("set_tag", "m", "1", "LINEAGE.model_digest", "x"), False, False, True),
        (Change("set_tag", "m", "1", "release.state", "champion"), True, False, True),
        (Change("set_alias", "m", "1", "champion", "1"), True, False, True),
        (Change("delete_alias", "m", "", "Shadow"), True, False, True),
        (Change("delete_version", "m", "1"), False, False, True),
        (Change("set_alias", "m", "1", "mine", "1"), True, True, True),
        (Change("set_tag", "m", "1", "note", "x"), True, True, True),
        (Change("set_tag", "m", "1", "approvals", "x"), True, True, True),
    ],
)
def test_each_change_is_for_those_it_is_for(change: Change, reviewer: bool, engineer: bool, platform: bool) -> None:
    assert (refusal(change, ["reviewer"], platform=False) is None) == reviewer
    assert (refusal(change, ["engineer", "desk"], platform=False) is None) == engineer
    assert (refusal(change, [], platform=True) is None) == platform
