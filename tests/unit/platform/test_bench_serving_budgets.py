"""What the serving benchmark says of its figures: which budgets are met, and none of a peer that did not run."""

from typing import Any

from tidegate.bench.serving import budgets, table
from tidegate.bench.serving_wrappers import wrapper_costs


def result(**changes: float) -> dict[str, Any]:
    p50 = {"tidegate": 0.7, "echo": 0.5, "mlflow": 1.4, "bentoml": 2.1} | changes
    rows = {"tidegate": 62_000, "in_process": 64_000, "mlflow": 5_000, "bentoml": 20_000}
    found: dict[str, Any] = {
        "model": "xgboost",
        "machine": {"cores": 2},
        "one_row": {name: {"p50_ms": value, "p99_ms": 2 * value} for name, value in p50.items()},
        "batch_rows_per_second": rows,
        "wrappers_microseconds": {"bare": 1.0},
    }
    return found


def test_each_budget_is_judged_by_its_own_figure() -> None:
    found = budgets(result())
    assert [item["figure"] for item in found] == [1.4, 0.5, 0.33, 62_000.0, 12.4, 3.1]
    assert all(item["met"] for item in found)
    missed = budgets(result(mlflow=1.0, echo=0.4))
    assert [item["what"] for item in missed if not item["met"]] == [
        "one prediction p50 over a bare echo",
        "one prediction p50 over mlflow",
    ]


def test_without_peers_nothing_is_said_of_them() -> None:
    alone = result()
    for figures in (alone["one_row"], alone["batch_rows_per_second"]):
        del figures["mlflow"], figures["bentoml"]
    found = budgets(alone)
    assert [item["what"] for item in found] == [
        "one prediction p50 over a bare echo",
        "rows a second in batches of 1,024",
    ]
    text = table(alone | {"budgets": found})
    assert "met    one prediction p50 over a bare echo: 1.4, budget at most 1.5" in text and "mlflow" not in text


async def test_the_wrappers_are_timed_one_within_the_other() -> None:
    costs = await wrapper_costs()
    assert list(costs) == ["bare", "limits", "limits and token"] and min(costs.values()) > 0
