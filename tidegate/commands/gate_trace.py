"""``tidegate gate trace``: which rows of the trial ledger the numbers of a version's evidence come from."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from core.errors import ExitCode
from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, table
from tidegate.commands.release import Name, Version, model_of

if TYPE_CHECKING:
    from training.evidence.tracing import Trace

_FEW = 3  # ids that a line of the table names


def trace(
    version: Version, name: Name = None, workspace: Workspace = HERE, state: State = None, json: Json = False
) -> None:
    """Compute the numbers of a version's evidence again from the trial ledger alone, and name the rows of each.

    With --json every number comes with all of its rows; `tidegate trials show ROW` tells what is on record about one.
    Exit code 3 when the ledger does not give a number again.

    Example: tidegate gate trace 3
    """
    settings = load_settings(state, "gate")
    import msgspec

    from core.params import read_params
    from tidegate.evidence import trace_registered
    from tidegate.platform import platform
    from training.evidence import GatePolicy, judge
    from training.evidence.tracing import rests_on
    from training.parameters import parse

    content = read_params(workspace / "params.yaml")
    parameters, policy = parse(content), GatePolicy.from_params(content)
    model = name or model_of(workspace)
    with platform(settings) as addresses:
        bundle, found = trace_registered(addresses, model, version, parameters.evaluation.bootstrap_draws)
    rules = [
        {
            "rule": rule.rule,
            "passed": rule.passed,
            "value": rule.value,
            "rests_on": rests_on(rule.rule, found.candidate),
        }
        for rule in judge(bundle, policy).rules
    ]
    result = {
        "model": model,
        "version": version,
        "agrees": found.agrees,
        **msgspec.to_builtins(found),
        "rules": rules,
        "bundle_digest": bundle.digest,
    }
    finish(result, json, _text(f"{model} version {version}", found, rules))
    if not found.agrees:
        raise typer.Exit(ExitCode.REFUSED)


def _text(what: str, found: "Trace", rules: Sequence[Mapping[str, Any]]) -> str:
    if found.missing:
        return f"{what}: the ledger no longer has {_named(found.missing)}: nothing can be computed again"
    numbers: list[Mapping[str, Any]] = [
        {
            "number": one.number,
            "evidence": _shown(one.evidence),
            "ledger": _shown(one.ledger),
            "": "same" if one.agrees else "OTHER",
            "rows": _named(one.rows),
        }
        for one in found.numbers
    ]
    other = sum(not one.agrees for one in found.numbers)
    said = "the ledger gives every number again" if not other else f"the ledger gives {other} numbers otherwise"
    origin = (
        f"its parameters are those of {_named(found.found_by)}"
        if found.found_by
        else "no search on record tried its parameters"
    )
    lines = [
        f"{what}: {said}; the candidate is trial {found.candidate}, {origin}",
        "",
        table(numbers, ["number", "evidence", "ledger", "", "rows"]),
        "",
        table(
            [
                {**rule, "passed": "passed" if rule["passed"] else "FAILED", "value": _shown(rule["value"])}
                for rule in rules
            ],
            ["rule", "passed", "value", "rests_on"],
        ),
    ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else "none" if value is None else str(value)


def _named(rows: Sequence[str]) -> str:
    """Return the ids, or of many the first, the last and how many there are."""
    if len(rows) <= _FEW:
        return ", ".join(rows) or "no row"
    return f"{len(rows)} rows, {rows[0]} to {rows[-1]}"


def register(group: typer.Typer) -> None:
    """Add the command to the group ``gate``."""
    group.command("trace")(trace)
