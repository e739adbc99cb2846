"""The hyper-parameter search flow: one study of one model, until its budget or its patience ends it."""

import asyncio
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact

from flows.pipeline import workspace_folder
from flows.progress import tell


@flow(name="search-hyperparameters", flow_run_name="search hyperparameters {workspace}", persist_result=False)
async def search_hyperparameters(
    workspace: str,
    study: str | None = None,
    apply: bool = False,
    choose: int | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Search the hyper-parameters of one model and return what was found.

    Started again with the same study it goes on where it stopped, however it stopped.

    Args:
        workspace: folder with ``params.yaml`` and the outputs of the dataset stage.
        study: its name; made of market, model and what the search depends on when not given.
        apply: write the chosen parameters into the workspace's ``params.yaml``.
        choose: trial to take instead of the best by the first objective.
        options: values in place of those of ``search.hyperparameters``.

    Raises:
        BadInputError: the search cannot begin as asked; nothing was begun.
        RefusedError: another process searches the same study.
        UnavailableError: the database does not answer.
    """
    from training.search.hyperparameters.progress import SearchProgress
    from training.search.hyperparameters.run import run_search

    folder = workspace_folder(workspace)
    logger = get_run_logger()
    bar = await acreate_progress_artifact(0.0, key="search-hyperparameters", description=f"search in {folder.name}")
    loop = asyncio.get_running_loop()

    def follow(progress: SearchProgress) -> None:
        logger.info("%s", progress.words)
        tell("search", words=progress.words, share=progress.share, ended=progress.ended, study=progress.study)
        asyncio.run_coroutine_threadsafe(_show(bar, progress.share), loop)

    result = await asyncio.to_thread(run_search, folder, study, options or {}, follow, apply, choose)
    await aupdate_progress_artifact(bar, 100.0)
    await acreate_markdown_artifact(
        f"## Search\n\n{result['words']}\n\nThe whole report: `{result['report']}`",
        key="search-hyperparameters-result",
        description="what the search found",
    )
    return result


async def _show(bar: Any, share: float) -> None:
    await aupdate_progress_artifact(bar, round(100.0 * share, 1))
