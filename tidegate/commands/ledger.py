"""``tidegate ledger show | rebuild``: look at the SQL projection of the journals, and make it anew from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ExitCode
from tidegate.commands.border import Json, State, finish, load_settings, say, table

if TYPE_CHECKING:
    from core.settings import Settings

Session = Annotated[str | None, typer.Option("--session", help="Name of one session.", show_default=False)]

application = typer.Typer(
    name="ledger",
    help="The SQL ledger: a projection of the sessions' journals, written exactly once.",
    no_args_is_help=True,
)


@application.command()
def rebuild(
    session: Session = None,
    everything: Annotated[bool, typer.Option("--all", help="Every session of this state directory.")] = False,
    state: State = None,
    json: Json = False,
) -> None:
    """Delete a session's rows and make them anew from its journal. Refused while its trader runs.

    The journal is read to its end before a row is deleted. After an upgrade this fills the columns that were added.

    Example: tidegate ledger rebuild --session tidegate-fixings-practice
    """
    settings = load_settings(state, "ledger")
    from core.database import create_engine, migrate
    from core.errors import RefusedError, UsageError
    from tidegate.platform import platform
    from trading.ledger.rebuilding import journal_at_rest
    from trading.ledger.rebuilding import rebuild as rebuild_session

    if (session is None) == (not everything):
        raise UsageError("name one session with --session NAME, or all of them with --all")
    journals = _journals(settings, session)
    done: dict[str, int] = {}
    refused: dict[str, str] = {}
    with platform(settings, database=True, say=say) as addresses:
        engine = create_engine(addresses.database_url)
        try:
            migrate(engine)
            for name, directory in journals.items():
                try:
                    with journal_at_rest(directory):
                        say(f"{name}: reading the journal")
                        done[name] = rebuild_session(engine, directory, name, _progress(name))
                except RefusedError as error:
                    if session is not None:
                        raise
                    refused[name] = error.message
        finally:
            engine.dispose()
    lines = [f"{name}: {entries} journal entries projected" for name, entries in done.items()]
    lines += [f"{name}: {words}" for name, words in refused.items()]
    finish({"rebuilt": done, "refused": refused}, json, "\n".join(lines))
    if refused:
        raise typer.Exit(ExitCode.REFUSED)


@application.command()
def show(
    session: Session = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Make the rows anew in memory and compare them with those present.")
    ] = False,
    state: State = None,
    json: Json = False,
) -> None:
    """Show rows per table, how far the ledger is, and with --verify whether it holds what the journal says.

    A session may go on trading meanwhile. Exit code 3: --verify found a difference.

    Example: tidegate ledger show --verify
    """
    settings = load_settings(state, "ledger")
    import msgspec

    from core.database import create_engine, migrate
    from core.errors import BadInputError
    from tidegate.platform import platform
    from trading.ledger.inspection import inspect, sessions_of

    journals = _journals(settings, None, needed=False)
    with platform(settings, database=True, say=say) as addresses:
        engine = create_engine(addresses.database_url)
        try:
            migrate(engine)
            known = sorted({*sessions_of(engine), *journals})
            if session is not None and session not in known:
                raise BadInputError(f"no session {session!r}: there are {', '.join(known) or 'none'}")
            chosen = [session] if session is not None else known
            found = [inspect(engine, name, journals.get(name), verify and name in journals) for name in chosen]
        finally:
            engine.dispose()
    differing = [one.session_id for one in found if one.differences]
    result: dict[str, Any] = {"sessions": msgspec.to_builtins(found), "verified": verify, "differing": differing}
    finish(result, json, _text(found))
    if differing:
        raise typer.Exit(ExitCode.REFUSED)


def _journals(settings: "Settings", session: str | None, needed: bool = True) -> dict[str, Path]:
    """Return journal folders by session."""
    from core.errors import BadInputError
    from trading.trader import JOURNAL

    folder = settings.state / "sessions"
    found = {path.parent.name: path for path in sorted(folder.glob(f"*/{JOURNAL}")) if path.is_dir()}
    if session is not None:
        if session not in found:
            raise BadInputError(f"no session {session!r} in {folder}: there are {', '.join(found) or 'none'}")
        return {session: found[session]}
    if needed and not found:
        raise BadInputError(f"{folder} holds no session: nothing to rebuild")
    return found


def _progress(name: str) -> Any:
    """Say every tenth part, at most."""
    shown = [0]

    def tell(done: int, total: int) -> None:
        tenth = done * 10 // max(total, 1)
        if tenth > shown[0]:
            shown[0] = tenth
            say(f"{name}: {done} of {total} entries")

    return tell


def _text(found: list[Any]) -> str:
    if not found:
        return "no session yet"
    rows: list[Mapping[str, Any]] = []
    lines: list[str] = []
    for one in found:
        for name, count in one.rows.items():
            rows.append({"session": one.session_id, "table": name, "rows": count})
        lag = "its journal is not here" if one.lag is None else f"{one.lag} entries behind"
        lines.append(f"{one.session_id}: in the ledger up to entry {one.watermark}, {lag}")
        if one.differences is not None:
            lines.append(f"{one.session_id}: {_words(one.differences)}")
            lines += [f"  {difference.table}: {text}" for difference in one.differences for text in difference.examples]
    return "\n".join([table(rows, ["session", "table", "rows"]), "", *lines])


def _words(differences: Any) -> str:
    if not differences:
        return "the rows are what the journal makes"
    return "; ".join(
        f"{one.table}: {one.missing} missing, {one.unexpected} unexpected, {one.different} different"
        for one in differences
    )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(application)
