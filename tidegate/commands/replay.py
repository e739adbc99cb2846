"""``tidegate replay`` and ``tidegate journal``: run a session's journal again, look at it, archive old ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ExitCode
from tidegate.commands.border import Json, State, finish, load_settings, say, table

if TYPE_CHECKING:
    from core.settings import Settings

Session = Annotated[str, typer.Argument(help="Name of a session, or its folder.")]

journals = typer.Typer(name="journal", help="The journals of the sessions: look, check, archive.", no_args_is_help=True)


def replay(
    session: Session,
    until: Annotated[
        int | None, typer.Option(help="Last entry to replay; all when not given.", min=1, show_default=False)
    ] = None,
    recompute: Annotated[
        bool,
        typer.Option("--recompute", help="Make the predictions again, under the policies of then, and compare."),
    ] = False,
    state: State = None,
    json: Json = False,
) -> None:
    """Run the journal of a session through the same loop and compare every record, byte for byte.

    Exit code 0: everything the session decided is decided again. 3: the first difference is printed, field by field.

    Example: tidegate replay tidegate-fixings-practice --recompute
    """
    settings = load_settings(state, "replay")
    import asyncio

    import msgspec

    from core.journal import check_end
    from core.logging import quiet
    from trading.replay import replay_session

    folder = session_folder(settings, session)
    check_end(folder / "journal")  # half a session replayed equal proves nothing
    again = None
    if recompute:
        from tidegate.asked_again import policies_again

        again = policies_again(settings.state, folder)

    def tell(done: int, total: int) -> None:
        say(f"{done:,} of {total:,} entries")

    with quiet():
        report = asyncio.run(replay_session(folder, until, again, progress=tell))
    made = ", ".join(f"{count:,} {kind}" for kind, count in report.records.items())
    lines = [
        f"session {report.session_id}: {report.entries:,} entries of {report.processes} process(es) in "
        f"{report.seconds:.2f} s ({report.quotes_per_second:,.0f} feed events/s)",
        f"  {made}",
        f"  {report.given:,} entries were given: starts, comparisons with the broker, what came beside the loop",
    ]
    if recompute:
        lines.append(f"  {report.recomputed:,} predictions made again")
    lines += ["equal, byte for byte"] if report.difference is None else report.difference.lines()
    finish(msgspec.to_builtins(report), json, "\n".join(lines))
    if not report.equal:
        raise typer.Exit(ExitCode.REFUSED)


def session_folder(settings: "Settings", session: str) -> Path:
    """Return the folder of a session named by its name or its path.

    Raises:
        BadInputError: there is none.
    """
    from core.errors import BadInputError

    named = settings.state / "sessions" / session
    for folder in (named, Path(session)):
        if (folder / "journal").is_dir():
            return folder
    known = sorted(path.parent.name for path in (settings.state / "sessions").glob("*/journal"))
    raise BadInputError(f"no session {session!r}; there are: {', '.join(known[-5:]) or 'none yet'}")


@journals.command()
def show(
    session: Session,
    kind: Annotated[str | None, typer.Option(help="Only entries of this kind.", show_default=False)] = None,
    first: Annotated[int, typer.Option("--from", help="First entry.", min=1)] = 1,
    count: Annotated[int, typer.Option(help="At most so many entries.", min=1)] = 20,
    state: State = None,
    json: Json = False,
) -> None:
    """Print entries of a session's journal.

    Example: tidegate journal show demo-fixings --kind submitted
    """
    settings = load_settings(state, "journal")
    from itertools import islice

    import msgspec

    from core.clock import to_rfc3339
    from core.journal import read_entries
    from trading import records

    folder = session_folder(settings, session)
    chosen = (entry for entry in read_entries(folder / "journal", first) if kind is None or entry.kind == kind)
    rows: list[dict[str, Any]] = [
        {
            "sequence": entry.sequence,
            "time": to_rfc3339(entry.time_ns),
            "kind": entry.kind,
            "durable": entry.durable,
            "record": msgspec.to_builtins(records.decode(entry)),
        }
        for entry in islice(chosen, count)
    ]
    lines = [f"{row['sequence']:>8} {row['time']} {row['kind']:<16} {row['record']}" for row in rows]
    finish({"entries": rows}, json, "\n".join(lines) or "no such entries")


@journals.command()
def verify(session: Session, state: State = None, json: Json = False) -> None:
    """Read a session's journal from end to end: checksums, sequence, records.

    Exit code 3 with the place where it is damaged.

    Example: tidegate journal verify demo-fixings
    """
    settings = load_settings(state, "journal")
    from core.journal import check_end, read_entries, written_bytes
    from trading import records

    folder = session_folder(settings, session) / "journal"
    kinds: dict[str, int] = {}
    last = None
    for entry in read_entries(folder):
        records.decode(entry)
        kinds[entry.kind] = kinds.get(entry.kind, 0) + 1
        last = entry
    torn = check_end(folder)
    result = {
        "entries": sum(kinds.values()),
        "bytes": written_bytes(folder),
        "torn_bytes": torn,
        "closed": last is not None and last.kind == "session_closed",
        "kinds": dict(sorted(kinds.items())),
    }
    words = "closed" if result["closed"] else "not closed: a trader writes it, or died"
    words += f"; {torn:,} bytes after the last entry are being written, or torn: the next start cuts them off" * bool(
        torn
    )
    finish(result, json, f"{result['entries']:,} entries, {result['bytes']:,} bytes, whole; {words}")


@journals.command()
def prune(
    keep: Annotated[
        int | None, typer.Option(help="Keep the newest so many sessions.", min=0, show_default=False)
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="Keep sessions younger than this.", min=0, show_default=False)
    ] = None,
    megabytes: Annotated[
        float | None, typer.Option(help="Keep so much, newest first.", min=0, show_default=False)
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Folder of the packed journals.", show_default="<state>/archive/journals")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    state: State = None,
    json: Json = False,
) -> None:
    """Pack closed journals beyond the limits (tar.xz), check the pack, and remove the segments.

    Only a session that was closed and is wholly in the ledger is touched; the reason is printed for each.

    Example: tidegate journal prune --keep 30 --days 90 --dry-run
    """
    settings = load_settings(state, "journal")
    from core.clock import LiveClock
    from core.errors import UsageError
    from core.journal import retention
    from tidegate.platform import platform

    if keep is None and days is None and megabytes is None:
        raise UsageError("give at least one limit: --keep, --days or --megabytes")
    limits = retention.Retention(keep, days, None if megabytes is None else round(megabytes * 1e6))
    limits.check()
    with platform(settings, database=True, say=say) as addresses:
        watermarks = _watermarks(addresses.database_url)
    shelves = [
        retention.look_at(path.parent.name, path, "session_closed", watermarks.get(path.parent.name, 0))
        for path in sorted((settings.state / "sessions").glob("*/journal"))
        if any(path.glob("*.journal"))
    ]
    target = archive or settings.state / "archive" / "journals"
    rows: list[dict[str, Any]] = []
    for verdict in retention.judge(shelves, limits, LiveClock().time_ns()):
        row: dict[str, Any] = {
            "session": verdict.shelf.name,
            "entries": verdict.shelf.entries,
            "bytes": verdict.shelf.bytes,
            "archived": "no",
            "reason": verdict.reason,
        }
        if verdict.archive:
            file = target / f"{verdict.shelf.name}.tar.xz"
            row["archived"] = "would be" if dry_run else "yes"
            if not dry_run:
                row["archive_bytes"] = retention.archive(verdict.shelf.directory, file)
                row["archive"] = str(file)
        rows.append(row)
    columns = ["session", "entries", "bytes", "archived", "reason"]
    finish({"sessions": rows, "dry_run": dry_run}, json, table([*rows], columns))


@journals.command()
def restore(
    session: Annotated[str, typer.Argument(help="Name of the session.")],
    archive: Annotated[
        Path | None, typer.Option(help="The packed journal.", show_default="<state>/archive/journals/SESSION.tar.xz")
    ] = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Unpack an archived journal into its session, to replay it or to rebuild the ledger from it.

    Example: tidegate journal restore demo-fixings
    """
    settings = load_settings(state, "journal")
    from core.journal import retention

    file = archive or settings.state / "archive" / "journals" / f"{session}.tar.xz"
    folder = settings.state / "sessions" / session / "journal"
    last = retention.restore(file, folder)
    finish({"session": session, "entries": last, "journal": str(folder)}, json, f"{last:,} entries in {folder}")


def _watermarks(database_url: str) -> dict[str, int]:
    """Return how far the ledger holds each session."""
    import sqlalchemy as sa

    from core.database import create_engine, migrate
    from trading.ledger import tables

    engine = create_engine(database_url)
    try:
        migrate(engine)
        with engine.connect() as connection:
            query = sa.select(tables.watermarks.c.session_id, tables.watermarks.c.sequence)
            return {str(name): int(sequence) for name, sequence in connection.execute(query)}
    finally:
        engine.dispose()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(replay)
    app.add_typer(journals)
