"""What both searches share: a flow that may be killed, and what to do then."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.errors import UnavailableError


def run_search_flow(
    name: str,
    parameters: Mapping[str, Any],
    environment: Mapping[str, str],
    on_event: Callable[[dict[str, Any]], None],
    log_file: Path,
) -> dict[str, Any]:
    """Run the flow of a search and return its result.

    Raises:
        UnavailableError: it ended without one; the message says that the same command goes on.
        TidegateError: it failed.
    """
    from flows.run import run_flow

    try:
        return run_flow(name, parameters, environment=environment, on_event=on_event, log_file=log_file)
    except UnavailableError as error:
        raise UnavailableError(
            f"{error.message}. Every trial so far is on record: the same command goes on where it stopped"
        ) from None
