"""The border of a pipeline stage: logging on, one clear line on stderr for every error raised on purpose, exit code.

A stage is ``python -m <room>.stages <stage>``. What it prints goes to stderr; stdout stays free for a result.
"""

import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

from core.errors import ExitCode, TidegateError
from core.logging import configure_logging
from core.settings import get_settings

INTERRUPTED = 130  # 128 + SIGINT, what a shell reports for Ctrl-C


def run(main: Callable[[], None], name: str) -> NoReturn:
    """Run ``main`` as the stage ``name`` and end the process with its exit code.

    A ``TidegateError`` becomes the line ``tidegate <name>: <message>`` and the error's exit code. Any other exception
    is a defect: its traceback is kept, because hiding it would help nobody.

    Raises:
        SystemExit: always.
    """
    try:
        settings = get_settings()
        configure_logging(settings.logging, name)
        main()
    except TidegateError as error:
        sys.stderr.write(f"tidegate {name}: {one_line(error.message)}\n")
        sys.stderr.flush()
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write(f"tidegate {name}: interrupted\n")
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(ExitCode.OK)


def dispatch(stages: Mapping[str, Callable[[], None]], arguments: list[str], room: str) -> NoReturn:
    """Run the stage named by the only argument, for rooms whose stages take no further arguments.

    Raises:
        SystemExit: always; code 2 with the list of stages when the name is missing or unknown.
    """
    if len(arguments) != 1 or arguments[0] not in stages:
        sys.stderr.write(f"usage: python -m {room}.stages {{{','.join(stages)}}}\n")
        raise SystemExit(ExitCode.USAGE)
    run(stages[arguments[0]], arguments[0])


def one_line(message: str) -> str:
    """Return a message without line breaks, so that a log reader sees one event."""
    return " ".join(message.split())
