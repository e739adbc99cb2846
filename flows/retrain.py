"""The retraining flow: the DVC pipeline from the market's source to a registered version."""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact, acreate_table_artifact

from core.files import read_json
from core.settings import get_settings
from flows.artifacts import quality_text, skill_rows, verdict_text
from flows.pipeline import stage_names, workspace_folder
from flows.progress import tell
from flows.stages import run_stages


@flow(name="retrain", flow_run_name="retrain {workspace}", persist_result=False, log_prints=False)
async def retrain(workspace: str, force: bool = False) -> dict[str, Any]:
    """Bring the pipeline of a workspace up to date and return what ``models/registered.json`` says.

    Idempotent: what did not change is not run again, and the same package keeps its registered version. Two runs on
    one workspace follow each other.

    Args:
        workspace: folder with ``dvc.yaml`` and ``params.yaml``.
        force: run every stage, changed or not.

    Raises:
        BadInputError: the workspace or its market data cannot be used.
        UnavailableError: the registry or another dependency does not answer, after retries.
    """
    folder = workspace_folder(workspace)
    names = stage_names(folder)
    results = await run_stages(folder, names, names if force else ())
    registered: dict[str, Any] = read_json(folder / "models" / "registered.json")
    await _show(folder, registered)
    ran = [result.stage for result in results if result.ran]
    outcome = {**registered, "stages": {r.stage: {"ran": r.ran, "seconds": round(r.seconds, 2)} for r in results}}
    get_run_logger().info(
        "%s version %s, gate %s; %d of %d stages had to run",
        *(registered["name"], registered["version"], registered["verdict"], len(ran), len(results)),
    )
    tell("registered", **registered)
    return outcome


async def _show(folder: Path, registered: dict[str, Any]) -> None:
    """Put quality, skill, verdict and links on the flow run's page."""
    quality = quality_text(folder)
    if quality is not None:
        await acreate_markdown_artifact(quality, key="data-quality", description="quality of the ingested data")
    evaluation = read_json(folder / "reports" / "evaluation" / "evaluation.json")
    await acreate_table_artifact(
        skill_rows(evaluation), key="skill", description="out-of-sample skill with 95 % intervals"
    )
    await acreate_markdown_artifact(verdict_text(evaluation), key="verdict", description="the gate's verdict")
    uri = get_settings().mlflow_tracking_uri
    if uri.startswith("http"):
        await acreate_link_artifact(
            f"{uri}/#/models/{registered['name']}/versions/{registered['version']}",
            link_text=f"{registered['name']} version {registered['version']} in MLflow",
            key="registered-version",
        )
