"""What a flow shows of an evaluation."""

from flows.artifacts import verdict_text


def test_a_rule_without_a_figure_is_shown_all_the_same() -> None:
    rules = [
        {"rule": "skill", "passed": False, "value": -0.0123456, "limit": 0.0, "words": "no skill"},
        {"rule": "complete_ledger", "passed": True, "value": None, "limit": None, "words": "every trial is on record"},
    ]
    evaluation = {"verdict": {"passed": False, "rules": rules}, "chosen": "blend", "words": "No model beats them."}
    text = verdict_text(evaluation)
    assert "| skill | **failed** | -0.012346 | 0 | no skill |" in text
    assert "| complete_ledger | passed | – | – | every trial is on record |" in text
