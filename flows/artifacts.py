"""What a flow shows on its page in the Prefect UI: tables and texts made of the reports its stages wrote."""

from pathlib import Path
from typing import Any

from core.files import read_json


def interval(entry: dict[str, Any], form: str) -> str:
    """Return ``value [low, high]`` of an estimate with its interval."""
    return f"{entry['value']:{form}} [{entry['low']:{form}}, {entry['high']:{form}}]"


def skill_rows(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one table row per model and baseline of ``evaluation.json``."""
    rows: list[dict[str, Any]] = []
    for group in ("models", "baselines"):
        for name, entry in sorted(evaluation[group].items()):
            loss = entry.get("log_loss")
            row: dict[str, Any] = {
                "model": f"{name} (chosen)" if name == evaluation["chosen"] else name,
                "kind": group.removesuffix("s"),
                "log loss": "–" if loss is None else f"{loss:.5f}",
                "skill": interval(entry["skill"], "+.3%") if entry.get("skill") else "–",
                "Sharpe after cost": interval(entry["strategy"]["sharpe"], "+.2f"),
            }
            rows.append(row)
    return rows


def verdict_text(evaluation: dict[str, Any]) -> str:
    """Return the gate's verdict with its rules as markdown."""
    verdict = evaluation["verdict"]
    lines = [
        f"## The gate {'passed' if verdict['passed'] else 'did not pass'} `{evaluation['chosen']}`",
        "",
        str(evaluation["words"]),
        "",
        "| rule | result | value | limit | in words |",
        "|---|---|---|---|---|",
    ]
    for rule in verdict["rules"]:
        lines.append(
            f"| {rule['rule']} | {'passed' if rule['passed'] else '**failed**'} | {_number(rule['value'])} "
            f"| {_number(rule['limit'])} | {rule['words']} |"
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    """Return a figure of a rule; a rule about a yes or no, or without evidence, has none."""
    return "–" if value is None else f"{value:.5g}"


def quality_text(workspace: Path) -> str | None:
    """Return the quality report's head as markdown, None when there is no report."""
    path = workspace / "reports" / "quality" / "quality.json"
    if not path.exists():
        return None
    report = read_json(path)
    facts = "\n".join(
        f"- {name.replace('_', ' ')}: {value}"
        for name, value in sorted(report.items())
        if isinstance(value, int | float | str)
    )
    return f"## Data quality\n\n{facts}\n\nThe whole report: `{path.with_suffix('.html')}`"
