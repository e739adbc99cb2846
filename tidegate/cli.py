"""The command line. Every error raised on purpose ends as one line and its exit code, never as a traceback."""

import json
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from core.errors import ExitCode, TidegateError
from tidegate.commands import REGISTER

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM

app = typer.Typer(
    name="tidegate",
    help="An MLOps platform for FX trading models: a model trades only after it has passed the gate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for register in REGISTER:
    register(app)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        result = app(standalone_mode=False)
        code = result if isinstance(result, int) else ExitCode.OK
        sys.stdout.flush()
    except TidegateError as error:
        code = _fail(" ".join(error.message.split()), error.exit_code)
    except KeyboardInterrupt:
        code = _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`| head`); keep the interpreter's own flush from raising the same again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    except Exception as error:
        code = _click_outcome(error)
    raise SystemExit(code)


def _click_outcome(error: Exception) -> int:
    """Exit code of what the command-line library itself raises; anything else is a defect and keeps its traceback."""
    name = type(error).__name__
    if name == "Abort":  # its word for Ctrl-C
        return _fail("interrupted", INTERRUPTED)
    if name == "Exit":
        return int(getattr(error, "exit_code", 0))
    message = getattr(error, "format_message", None)
    if message is None:
        raise error
    context = getattr(error, "ctx", None)
    if context is not None:
        sys.stderr.write(f"{context.get_usage()}\n")
    return _fail(str(message()), ExitCode.USAGE)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"tidegate: {message}\n")
    sys.stderr.flush()
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": message, "exit_code": code}) + "\n")
        sys.stdout.flush()
    return code


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does: what it started is stopped in order."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the second one must not interrupt the cleaning up
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    main()
