"""The materialisation flow: feature rows that arrived since the last time, into the online store."""

import asyncio
from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger

from core.clock import to_rfc3339
from core.params import read_params
from core.settings import get_settings
from flows.lease import workspace_lease
from flows.pipeline import workspace_folder


@flow(name="materialize", flow_run_name="materialize {workspace}", persist_result=False, log_prints=False)
async def materialize(workspace: str) -> dict[str, Any]:
    """Offer each instrument's newest arrived feature row to the online store of the settings (else a SQLite file).

    Idempotent: the mark is on arrival time and moves after the write.

    Raises:
        BadInputError: the features stage has not run in the workspace.
        UnavailableError: the online store does not answer.
    """
    folder = workspace_folder(workspace)
    logger = get_run_logger()
    lease = workspace_lease(folder, on_wait=logger.warning)
    await asyncio.to_thread(lease.__enter__)
    try:
        from features.materialize import materialize as run
        from features.sets import feature_set

        definition = feature_set(str(read_params(folder / "params.yaml")["features"]["set"]))
        redis = get_settings().redis.url
        result = await asyncio.to_thread(run, folder, definition, redis.get_secret_value() if redis else None)
    finally:
        lease.__exit__(None, None, None)
    logger.info("%d rows had arrived, %d instruments offered", result.arrived, len(result.offered))
    return {
        **asdict(result),
        "mark": to_rfc3339(max(result.mark_ns, 0)),
        "online_store": "redis" if redis else "sqlite",
    }
