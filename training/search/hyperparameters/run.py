"""A search from its parameters to its files: report, result, patch and MLflow runs."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from core.files import write_bytes, write_json
from training.search.hyperparameters.patch import apply_patch, patched
from training.search.hyperparameters.progress import SearchProgress
from training.search.hyperparameters.report import write_report
from training.search.hyperparameters.result import chosen_slot, rounded, summarise
from training.search.hyperparameters.rows import Rows
from training.search.hyperparameters.search import REPORTS, prepare, search
from training.search.hyperparameters.tracking import track


def run_search(
    workspace: Path,
    study: str | None = None,
    options: Mapping[str, Any] | None = None,
    report: Callable[[SearchProgress], None] = lambda progress: None,
    apply: bool = False,
    choose: int | None = None,
) -> dict[str, Any]:
    """Search, write ``reports/search/<study>/`` and return the result.

    Args:
        workspace: folder with ``params.yaml`` and the outputs of the dataset stage.
        study: its name; None: made of what the search depends on.
        options: values in place of those of ``search.hyperparameters``.
        report: called as the search goes on.
        apply: write the chosen parameters into ``params.yaml``.
        choose: trial to take instead of the best by the first objective.

    Raises:
        BadInputError: the search cannot begin as asked; nothing was begun.
        RefusedError, UnavailableError: see ``search``.
    """
    workspace = workspace.absolute()
    prepared = prepare(workspace, study, **dict(options or {}))
    searched = search(prepared, report)
    chosen = chosen_slot(searched, choose)
    rows = Rows(prepared.database_url, prepared.name)
    try:
        by_number = rows.by_number()
    finally:
        rows.close()
    result = summarise(searched, by_number, chosen)
    folder = workspace / REPORTS / prepared.name
    parameters = workspace / "params.yaml"
    if chosen is not None:
        found = rounded(chosen.proposed)
        patch = yaml.safe_dump({"models": {prepared.space.model: found}}, sort_keys=True)
        write_bytes(folder / "best.yaml", patch.encode())
        before = parameters.read_text()
        after = patched(before, prepared.space.model, found)
        lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), "a/params.yaml", "b/params.yaml")
        write_bytes(folder / "params.patch", "".join(lines).encode())
        result["patch"] = str(folder / "params.patch")
        if apply:
            apply_patch(parameters, prepared.space.model, found)
    result["applied"] = apply and chosen is not None
    result["report"] = str(folder / "search.html")
    write_report(folder / "search.html", searched, result, by_number)
    result |= track(prepared, by_number, result, folder)
    # The last file: whoever finds it finds everything else.
    write_json(folder / "search.json", result)
    return result
