"""``tidegate users``: accounts of the MLflow registry and their roles."""

import sys
from typing import Annotated, Any

import typer

from tidegate.commands.border import Json, State, finish, load_settings, table

users = typer.Typer(help="Accounts of the registry: who may review, who trains, who reads.", no_args_is_help=True)


@users.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the account.")],
    role: Annotated[list[str], typer.Option("--role", help="reviewer, engineer or desk; may be given again.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input; else one is drawn.")
    ] = False,
    state: State = None,
    json: Json = False,
) -> None:
    """Make an account, or give one that is there further roles.

    A drawn password is put into a file under `keys` of the state directory that only you can read; hand it over and
    remove it. Needs `TIDEGATE_MLFLOW__AUTHENTICATION=basic` and a running registry (`tidegate up`).

    Example: tidegate users add reviewer_one --role reviewer
    """
    settings = load_settings(state, "users")
    from tidegate.accounts import add_account
    from tidegate.platform import platform

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    with platform(settings) as addresses:
        result = add_account(addresses, name, role, password, settings.state / "keys" / "accounts")
    where = f"; its password is in {result['password_file']}" if result["password_file"] else ""
    verb = "made" if result["made"] else "kept"
    finish(result, json, f"account {name} {verb}, roles {', '.join(result['roles'])}{where}")


@users.command("list")
def list_users(state: State = None, json: Json = False) -> None:
    """List the accounts and their roles.

    Example: tidegate users list
    """
    settings = load_settings(state, "users")
    from tidegate.accounts import list_accounts
    from tidegate.platform import platform

    with platform(settings) as addresses:
        found = list_accounts(addresses)
    shown: list[Any] = [{**row, "roles": ", ".join(row["roles"])} for row in found]
    finish({"users": found}, json, table(shown, ["name", "roles"]))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(users, name="users")
