"""The ingest flow: market data into the catalog of a workspace, through the quality gate."""

from typing import Any

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact

from flows.artifacts import quality_text
from flows.pipeline import workspace_folder
from flows.stages import run_stages

STAGES = ("code", "source", "ingest")


@flow(name="ingest", flow_run_name="ingest {workspace}", persist_result=False, log_prints=False)
async def ingest(workspace: str, force: bool = False) -> dict[str, Any]:
    """Ingest what ``params.yaml: data`` of a workspace points to, unless it is in the catalog already.

    Raises:
        BadInputError: the source cannot be read, or its quality is below the limit.
    """
    folder = workspace_folder(workspace)
    results = await run_stages(folder, STAGES, ("ingest",) if force else ())
    quality = quality_text(folder)
    if quality is not None:
        await acreate_markdown_artifact(quality, key="data-quality", description="quality of the ingested data")
    return {"ran": results[-1].ran, "seconds": results[-1].seconds, "report": str(folder / "reports" / "quality")}
