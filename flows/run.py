"""Run a flow against the standing Prefect server, in a process of its own that ends with this one."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.embedded.guarded import GuardedProcess
from core.errors import ConfigurationError, UnavailableError, UsageError
from flows.pipeline import error_of

FLOWS: tuple[str, ...] = (
    "drift",
    "ingest",
    "materialize",
    "release",
    "retrain",
    "retraining",
    "search_hyperparameters",
    "search_strategy",
)


def run_flow(
    name: str,
    parameters: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    log_file: Path | None = None,
) -> dict[str, Any]:
    """Run one flow and return its result.

    Args:
        name: one of ``FLOWS``.
        parameters: of the flow, JSON-serialisable.
        environment: variables beside those of this process; ``PREFECT_API_URL`` must be in one of both.
        on_event: called with ``{"event": "stage", "stage", "state", …}``, ``{"event": "line", "text"}``, ….
        log_file: where the flow's log is appended; this process's stderr when not given.

    Raises:
        TidegateError: the flow failed; the class follows what it failed with.
        ConfigurationError: no Prefect server is named.
    """
    if name not in FLOWS:
        raise UsageError(f"no flow {name!r}: choose one of {', '.join(FLOWS)}")
    variables = {**os.environ, **(environment or {})}
    if not variables.get("PREFECT_API_URL"):
        raise ConfigurationError("PREFECT_API_URL is not set: start the services with `tidegate up` first")
    read, write = os.pipe()
    try:
        process = GuardedProcess(
            [sys.executable, "-m", "flows.execute", name, json.dumps(dict(parameters)), str(write)],
            environment=variables,
            log_file=log_file,
            inherited=(write,),
            grace_seconds=10.0,
        ).start()
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    result: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    with process, os.fdopen(read) as events:
        for line in events:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "result":
                result = event["result"]
            elif event["event"] == "failed":
                failure = event
            elif on_event is not None:
                on_event(event)
        code = process.wait(60.0)
    if failure is not None:
        raise error_of(int(failure["exit_code"]), str(failure["message"]))
    if result is None:
        where = f"; see {log_file}" if log_file else ""
        raise UnavailableError(f"the flow {name} ended with code {code} and no result{where}")
    return result
