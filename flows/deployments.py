"""``python -m flows.deployments WORKSPACE``: our flows, on their schedules and on request.

One process polls the Prefect server and starts each flow run as a process of its own. Schedules are in UTC: the fixings
of a day are published at 16:00 in Frankfurt, so data come in after that, and drift is looked at before Europe opens.
Whether a new model is asked for is looked at every quarter of an hour; when, params.yaml says (``retraining``).
"""

import sys
from pathlib import Path
from typing import Any

from prefect import serve
from prefect.schedules import Cron

from core.params import read_params
from flows.approval import approval
from flows.drift import drift
from flows.ingest import ingest
from flows.materialize import materialize
from flows.pipeline import workspace_folder
from flows.release import release
from flows.retrain import retrain
from flows.retraining import retraining

INGEST = "30 16 * * 1-5"
MATERIALIZE = "45 16 * * 1-5"
RETRAINING = "*/15 * * * *"
RELEASE = "7-59/15 * * * *"  # the release service acts in seconds; this shows it on a page, and stands in for it
DRIFT = "0 5 * * 1-5"


def deployments(workspace: Path) -> list[Any]:
    """Return the deployments of a workspace, named after its market."""
    market = str(read_params(workspace / "params.yaml")["market"])
    where = {"workspace": str(workspace)}
    return [
        ingest.to_deployment(name=f"ingest-{market}", parameters=where, schedule=Cron(INGEST), tags=[market]),
        materialize.to_deployment(
            name=f"materialize-{market}", parameters=where, schedule=Cron(MATERIALIZE), tags=[market]
        ),
        retrain.to_deployment(name=f"retrain-{market}", parameters=where, tags=[market]),
        retraining.to_deployment(
            name=f"retraining-{market}", parameters=where, schedule=Cron(RETRAINING), tags=[market]
        ),
        approval.to_deployment(name=f"approval-{market}", parameters={"name": f"tidegate-{market}"}, tags=[market]),
        release.to_deployment(name=f"release-{market}", parameters=where, schedule=Cron(RELEASE), tags=[market]),
        drift.to_deployment(name=f"drift-{market}", parameters=where, schedule=Cron(DRIFT), tags=[market]),
    ]


if __name__ == "__main__":
    # One run at a time: runs on one workspace would only wait for its lease.
    serve(*deployments(workspace_folder(sys.argv[1])), limit=1, print_starting_message=False)
