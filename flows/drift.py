"""The drift flow: the training window against what the trader saw since."""

import asyncio
from typing import Any

import msgspec
from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact

from flows.pipeline import workspace_folder


@flow(name="drift", flow_run_name="drift {workspace}", persist_result=False, log_prints=False)
async def drift(workspace: str, live: str | None = None, output: str | None = None) -> dict[str, Any]:
    """Compare the training window of a workspace with a live window and log the report to MLflow.

    Args:
        workspace: folder with ``params.yaml`` and the outputs of the features stage.
        live: parquet file with feature rows, relative to the workspace; when not given, what the newest trading
            session of the workspace's market has seen so far, from its journal.
        output: folder for the reports, relative to the workspace; ``reports/drift`` when not given.

    Raises:
        BadInputError: a window is missing, empty or has other features.
    """
    from monitoring.drift.run import run_drift

    folder = workspace_folder(workspace)
    target = folder / (output or "reports/drift")
    result = await asyncio.to_thread(run_drift, folder, folder / live if live else None, target)
    words = result.assessment.words
    get_run_logger().info("%s", words)
    await acreate_markdown_artifact(
        f"## Drift\n\n{words}\n\nThe whole report: `{result.html}`", key="drift", description="drift of the features"
    )
    return msgspec.to_builtins(result)
