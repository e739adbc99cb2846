"""What all commands share: options, one JSON object as the last line of stdout, progress on stderr, exit codes."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

if TYPE_CHECKING:
    from core.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
State = Annotated[
    Path | None,
    typer.Option(
        "--state", help="State directory; TIDEGATE_STATE_DIRECTORY or `var` when not given.", show_default=False
    ),
]
Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", help="Folder with params.yaml and dvc.yaml.", show_default="here")
]
HERE = Path()


def load_settings(state: Path | None = None, command: str = "tidegate") -> "Settings":
    """Read the settings, with ``--state`` before everything else, and turn on logging to stderr."""
    if state is not None:
        os.environ["TIDEGATE_STATE_DIRECTORY"] = str(state.absolute())
    from core.logging import configure_logging
    from core.settings import get_settings

    settings = get_settings()
    configure_logging(settings.logging, command)
    return settings


def say(text: str) -> None:
    """Write a line of progress to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def finish(result: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Write a command's result to stdout: text for a person, one JSON object for a machine."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    # orjson writes null for NaN, which is no JSON number; a machine must be able to read every line.
    line = orjson.dumps(result, default=str, option=options).decode() if as_json else text
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def table(rows: list[Mapping[str, Any]], columns: list[str]) -> str:
    """Return rows as aligned text with a header."""
    cells = [columns, *[[str(row.get(column, "")) for column in columns] for row in rows]]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
