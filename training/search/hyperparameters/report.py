"""The page of a search: what was found, how it was found, and every trial with its row in the ledger."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.files import write_bytes
from training.pages import page_environment
from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.plots import legend, pictures
from training.search.hyperparameters.search import Searched
from training.trials import TrialRecord


def write_report(path: Path, searched: Searched, result: Mapping[str, Any], rows: Mapping[int, TrialRecord]) -> None:
    """Write the page; it refers to nothing outside itself. Every value is escaped but our own charts."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = page_environment("training.search.hyperparameters")
    drawn, without, notes = pictures(searched)
    html = environment.get_template("report.html").render(
        result=result,
        objectives=legend(searched.prepared.parameters.objectives),
        charts={title: Markup(fragment) for title, fragment in drawn.items()},
        without=without,
        notes=notes,
        shown=lambda name, value: OBJECTIVES[name].shown(value),
        trials=_trials(searched, rows),
        plotly_js=Markup(get_plotlyjs()),
    )
    write_bytes(path, html.encode())


def _trials(searched: Searched, rows: Mapping[int, TrialRecord]) -> list[dict[str, Any]]:
    """Return one line per Optuna trial, lost attempts included, in the order they began."""
    names = searched.prepared.parameters.objectives
    lines: list[dict[str, Any]] = []
    for slot in searched.slots:
        for attempt, number in enumerate(slot.numbers, 1):
            row = rows[number]
            last = number == slot.number
            lines.append(
                {
                    "number": number,
                    "outcome": str(row.status),
                    "attempt": attempt,
                    "values": [row.values.get(name) for name in names],
                    "folds": [fold.loss for fold in row.folds],
                    "parameters": row.parameters["searched"],
                    "seconds": None if row.duration_ns is None else row.duration_ns / 1e9,
                    "row": row.id,
                    "reason": row.reason or (slot.reason if last else ""),
                }
            )
    return sorted(lines, key=lambda line: line["number"])
