"""DVC stages as Prefect tasks, with retries where another attempt may help and one progress bar for all."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE

from core.errors import Action, TidegateError
from flows.lease import workspace_lease
from flows.pipeline import Pipeline, StageResult
from flows.progress import tell


async def transient(_task: Any, _run: Any, state: Any) -> bool:
    """Whether another attempt may help: a dependency was away. Bad input stays bad, a refusal stays one."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, TidegateError) and error.action in (Action.RETRY, Action.WAIT)


@task(
    name="stage",
    task_run_name="{stage}",
    retries=2,
    retry_delay_seconds=[3, 15],
    retry_condition_fn=transient,
    cache_policy=NO_CACHE,  # DVC decides what has to run
    persist_result=False,
)
async def run_stage(pipeline: Pipeline, stage: str, force: bool = False) -> StageResult:
    """Run one DVC stage. Stages are idempotent: DVC removes half-written outputs before it runs one again."""
    result = await asyncio.to_thread(pipeline.run, stage, force)
    get_run_logger().info("%s: %s in %.1f s", stage, "done" if result.ran else "nothing changed", result.seconds)
    return result


async def run_stages(workspace: Path, stages: Sequence[str], force: Sequence[str] = ()) -> list[StageResult]:
    """Run stages of a workspace in order under its lease, as tasks of the current flow run.

    Raises:
        UnavailableError: another flow held the workspace too long.
        TidegateError: a stage failed; the class follows its exit code.
    """
    logger = get_run_logger()
    lease = workspace_lease(workspace, on_wait=logger.warning)
    await asyncio.to_thread(lease.__enter__)
    try:
        bar = await acreate_progress_artifact(0.0, key="pipeline", description=f"stages of {workspace.name}")
        results: list[StageResult] = []
        with Pipeline(workspace, lambda line: _line(logger, line)) as pipeline:
            for number, stage in enumerate(stages):
                tell("stage", stage=stage, state="running", number=number, total=len(stages))
                begin = time.monotonic()
                try:
                    result = await run_stage(pipeline, stage, stage in force)
                except BaseException:
                    tell("stage", stage=stage, state="failed", seconds=time.monotonic() - begin)
                    raise
                results.append(result)
                state = "done" if result.ran else "unchanged"
                tell("stage", stage=stage, state=state, seconds=result.seconds, number=number + 1, total=len(stages))
                await aupdate_progress_artifact(bar, 100.0 * (number + 1) / len(stages))
        return results
    finally:
        lease.__exit__(None, None, None)


def _line(logger: Any, line: str) -> None:
    logger.info(line)
    tell("line", text=line)
