"""``tidegate rollback``: take back what answers, at once; and what was taken back before."""

from typing import Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say, table


def rollback(
    reason: Annotated[
        str | None,
        typer.Option("--reason", help="Why; it is kept for ever. Needed but for --list.", show_default=False),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="Whose model; that of params.yaml when not given.", show_default=False),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="A version that was champion before, or flat: nobody answers.", show_default=False),
    ] = None,
    positions: Annotated[
        str | None,
        typer.Option(help="keep, reduce or flatten; that of params.yaml when not given.", show_default=False),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Show the rollbacks of this machine; change nothing.")] = False,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Take back the challenger, or the champion where there is none; the champion before it answers at once.

    Without an earlier champion that verifies nobody answers, and no trader opens anything. What is taken back stays
    barred until somebody approves it anew. Needs neither database nor MLflow: the replicas follow a file; ledgers,
    MLflow and the report follow as soon as they answer.

    Example: tidegate rollback --reason "fills far from the market" --to flat
    """
    settings = load_settings(state, "rollback")
    from core.errors import TidegateError, UsageError
    from tidegate.commands.release import model_of
    from tidegate.rollback import AT_ONCE, Database, by_hand, completed, described, listed, rollback_parameters

    if show:
        rows: list[Any] = listed(settings, strategy)
        columns = ["strategy", "rollback", "time", "trigger", "taken_back", "target", "actor", "pending"]
        finish({"rollbacks": rows}, json, table(rows, columns) if rows else "nothing was ever rolled back here")
        return
    if reason is None:
        raise UsageError("a rollback needs a --reason: it is kept in the ledger")
    record = by_hand(
        settings,
        strategy or model_of(workspace),
        reason=reason,
        parameters=rollback_parameters(workspace),
        to=to,
        positions=positions,
    )
    say(f"rolled back: {record.target_words} answers from revision {record.revision} on")
    from tidegate.platform import platform, running
    from tidegate.release import registry_settings

    database = Database(lambda: "")
    record = completed(settings, record, database, AT_ONCE)
    try:
        with platform(settings, database=True) as addresses:
            database = Database(lambda: addresses.database_url)
            record = completed(registry_settings(addresses), record, database)
            database.close()
    except TidegateError as error:
        say(f"the rest follows later: {error.message}")
        record = completed(settings, record, database)
    result = described(record, settings.state)
    lines = [f"{name:<13} {words}" for name, words in result["steps"].items()]
    if record.pending:
        left = ", ".join(result["pending"])
        how = "the release service goes on with it" if "release" in running(settings.state) else "start `tidegate up`"
        lines.append(f"not done yet: {left}; {how}")
    finish(result, json, "\n".join(lines))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rollback)
