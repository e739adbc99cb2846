"""The strategy search as a flow: progress by generation, the verdict and the choices on the flow run's page."""

import asyncio
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from flows.pipeline import workspace_folder
from flows.progress import tell


@flow(name="search-strategy", flow_run_name="search strategy {workspace}", persist_result=False, log_prints=False)
async def search_strategy(
    workspace: str,
    rule: str | None = None,
    generations: int | None = None,
    trials: int | None = None,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Search the parameters of a rule on the market data of a workspace and return what ``result.json`` says.

    Idempotent: a search that was killed goes on where it stood, one that is over is not run again. What it finds is
    decided by ``params.yaml``, the data, the code and the seed.

    Args:
        workspace: folder with ``dvc.yaml``, ``params.yaml`` and ingested data.
        rule: instead of ``search.strategy.rule``.
        generations: budget instead of the one in ``params.yaml``.
        trials: the same.
        minutes: the same.

    Raises:
        BadInputError: the workspace, its data or the section ``search.strategy`` cannot be used.
        UnavailableError: the trial ledger or MLflow does not answer, or another process runs this search.
    """
    from training.search.strategy.report import read_result
    from training.search.strategy.state import Generation
    from training.search.strategy.study import begin_study, budget_share, run_study
    from training.search.strategy.tracking import track
    from training.trials.session import open_ledger

    folder = workspace_folder(workspace)
    logger = get_run_logger()
    study = await asyncio.to_thread(begin_study, folder, rule, generations, trials, minutes)
    logger.info("study %s: %s", study.name, study.words)
    tell("line", text=f"study {study.name}: {study.words}")
    bar = await acreate_progress_artifact(0.0, key="strategy-search", description=study.words)
    loop = asyncio.get_running_loop()

    def progress(generation: Generation) -> None:
        final = generation.best[-1]
        text = (
            f"generation {generation.number + 1}: {generation.trials} trials, "
            f"{study.parameters.choose_by} of the choice {final:.3f} in-sample"
        )
        logger.info(text)
        tell("generation", number=generation.number + 1, trials=generation.trials, best=final)
        tell("line", text=text)
        share = budget_share(study.parameters.budget, generation)
        asyncio.run_coroutine_threadsafe(aupdate_progress_artifact(bar, 100.0 * share), loop).result(30.0)

    def work() -> dict[str, Any]:
        with open_ledger() as ledger:
            found = run_study(study, ledger, progress)
        written = read_result(study.folder)
        assert written is not None
        return {**found, "mlflow_run": track(written, study.folder)}

    tell("stage", stage="search", state="running", number=0, total=1)
    try:
        outcome = await asyncio.to_thread(work)
    except BaseException:
        tell("stage", stage="search", state="failed", seconds=0.0)
        raise
    await aupdate_progress_artifact(bar, 100.0)
    await acreate_markdown_artifact(_verdict(outcome), key="verdict", description="what the search came to")
    await acreate_table_artifact(_choices(outcome), key="walk-forward", description="what each fold chose")
    logger.info(outcome["words"])
    return outcome


def _verdict(outcome: dict[str, Any]) -> str:
    lines = [f"## {outcome['words']}", "", "| rule | result | in words |", "|---|---|---|"]
    for rule in outcome["verdict"]["rules"]:
        lines.append(f"| {rule['rule']} | {'passed' if rule['passed'] else '**failed**'} | {rule['words']} |")
    return "\n".join([*lines, "", f"Report: `{outcome['report']}`"])


def _choices(outcome: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "fold": fold["number"] + 1,
            "parameters": ", ".join(f"{name} {value:g}" for name, value in fold["parameters"].items()),
            "Sharpe in-sample": f"{fold['in_sample']['sharpe']:+.2f}",
            "Sharpe out-of-sample": f"{fold['out_of_sample']['sharpe']:+.2f}",
            "trial": fold["trial"],
        }
        for fold in outcome["folds"]
    ]
