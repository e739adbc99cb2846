"""``tidegate up``, ``down`` and ``status``: the services of this machine."""

from typing import Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say, table

Foreground = Annotated[bool, typer.Option("--foreground", help="Stay in this process until Ctrl-C.")]
Without = Annotated[
    list[str] | None, typer.Option("--without", help="Leave out a service; repeat for more.", show_default=False)
]


def up(
    foreground: Foreground = False,
    without: Without = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Start all services of this machine and leave them running.

    Starts PostgreSQL, Redis, MLflow, Prefect with our flows on their schedules, and the inference service; waits until
    each answers a real request. What crashes is started again. Stores and servers that the settings name are not
    started. `tidegate down` ends it all.

    Example: tidegate up --without serving
    """
    settings = load_settings(state, "up")
    from tidegate import daemon

    excluded = frozenset(without or ())
    if foreground:
        daemon.run(settings, workspace.absolute(), excluded, as_json=json)
        return
    result = daemon.spawn(settings, workspace.absolute(), excluded, say)
    lines = [f"{service['name']:<12} {service['url']}" for service in result["services"]]
    finish(result, json, "\n".join([*lines, "`tidegate status` shows them, `tidegate down` ends them."]))


def down(state: State = None, json: Json = False) -> None:
    """End every service that was started on the state directory, also after a crash or a reboot.

    Only processes that carry this platform's mark are touched.

    Example: tidegate down
    """
    settings = load_settings(state, "down")
    from tidegate import daemon

    ended = daemon.end(settings.state)
    text = f"ended: {', '.join(ended)}" if ended else f"nothing ran on {settings.state}"
    finish({"ended": ended, "state": str(settings.state)}, json, text)


def status(state: State = None, json: Json = False) -> None:
    """Ask every service how it is. Exit code 4 when one does not answer, or none runs.

    Example: tidegate status --json
    """
    settings = load_settings(state, "status")
    import msgspec

    from core.errors import ExitCode
    from tidegate.processes.records import SUPERVISOR, read_records
    from tidegate.services.health import check_all

    records = read_records(settings.state)
    supervised = any(record.alive for record in records if record.name == SUPERVISOR)
    services = check_all([record for record in records if record.name != SUPERVISOR])
    healthy = bool(services) and all(service.answers for service in services)
    memory = sum(service.memory_bytes for service in services)
    result = {
        "healthy": healthy,
        "supervised": supervised,
        "state": str(settings.state),
        "memory_bytes": memory,
        "services": [msgspec.to_builtins(service) for service in services],
    }
    rows: list[Any] = [
        {
            "service": service.name,
            "state": "answers" if service.answers else "running, no answer" if service.running else "ended",
            "memory": f"{service.memory_bytes / 1e6:.0f} MB",
            "restarts": service.restarts,
            "address": service.url,
            "detail": service.detail,
        }
        for service in services
    ]
    text = (
        f"{table(rows, ['service', 'state', 'memory', 'restarts', 'address', 'detail'])}\n{memory / 1e6:.0f} MB in all"
        if services
        else f"nothing runs on {settings.state}: `tidegate up` starts the services"
    )
    finish(result, json, text)
    if not healthy:
        raise typer.Exit(ExitCode.UNAVAILABLE)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, status):
        app.command()(command)
