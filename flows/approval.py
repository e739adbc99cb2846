"""The approval flow: ask for the review of a version, end, and come back when somebody has decided.

While it waits there is no process: the run is suspended on the Prefect server, and whoever records the decision has it
resumed (``flows.resume``). It then begins anew and finds the decision; a run that a person resumes by hand before that
suspends again.
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.flow_runs import suspend_flow_run
from prefect.runtime import flow_run

from core.database import create_engine, migrate
from core.errors import ConfigurationError
from core.settings import get_settings
from serving.release.approvals import ApprovalLedger
from serving.release.publish import registry_client
from serving.release.review_requests import RequestState, ReviewRequest, ReviewRequests, request_review, waiting_words

_DAY_SECONDS = 24 * 3600


@flow(name="approval", flow_run_name="approval {name} {version}", persist_result=False, log_prints=False)
def approval(
    name: str, version: str, requested_by: str = "flow", days: float = 30.0, remind_days: float = 3.0
) -> dict[str, Any]:
    """Wait for a reviewer's decision about a registered version and return it.

    Args:
        name: of the registered model.
        version: of it.
        requested_by: who asks.
        days: without a decision in them the request expires.
        remind_days: between two reminders.

    Returns:
        The request: its ``state`` is approved, rejected or expired.

    Raises:
        BadInputError: there is no such version.
        ConfigurationError: no database is named.
        UnavailableError: registry or database does not answer.
    """
    settings = get_settings()
    if settings.database.url is None:
        raise ConfigurationError("the approval flow needs the platform's database: set TIDEGATE_DATABASE__URL")
    run_id = str(flow_run.get_id())
    engine = create_engine(settings.database.url.get_secret_value())
    try:
        migrate(engine)
        requests = ReviewRequests(engine)
        request = requests.of_flow_run(run_id)
        if request is None:
            client = registry_client(settings)
            request = request_review(
                client,
                requests,
                name,
                version,
                requested_by=requested_by,
                days=days,
                remind_days=remind_days,
                flow_run_id=run_id,
            )
        if request.state is RequestState.WAITING:
            get_run_logger().info("version %s of %s: %s", version, name, waiting_words(request))
            if settings.mlflow_tracking_uri.startswith("http"):
                create_link_artifact(
                    f"{settings.mlflow_tracking_uri}/#/models/{name}/versions/{version}",
                    link_text=f"review version {version} of {name} in MLflow",
                    key="review",
                )
            # A day longer than the request: it is the request that expires, with words. A key of its own for every
            # start, or the server would take a second suspension for the first.
            patience = round(days * _DAY_SECONDS) + _DAY_SECONDS
            suspend_flow_run(timeout=patience, key=f"{run_id}-{flow_run.get_run_count()}")
        words = _words(request, engine)
        get_run_logger().info("%s", words)
        create_markdown_artifact(words, key="decision", description="what the reviewer decided")
    finally:
        engine.dispose()
    return {**msgspec.to_builtins(request), "words": words}


async def start_approval(name: str, version: str, requested_by: str) -> str | None:
    """Start the approval flow of a version as a run of its own, once for each version; nobody waits for it here.

    Args:
        name: of the registered model, ``tidegate-<market>``.
        version: of it.
        requested_by: who asks.

    Returns:
        The id of the flow run; None where this server has no deployment of the flow.
    """
    from prefect.deployments import arun_deployment
    from prefect.exceptions import ObjectNotFound

    try:
        run = await arun_deployment(
            f"approval/approval-{name.removeprefix('tidegate-')}",
            parameters={"name": name, "version": version, "requested_by": requested_by},
            timeout=0,
            as_subflow=False,
            idempotency_key=f"approval-{name}-{version}",
        )
    except ObjectNotFound:
        get_run_logger().info("no approval flow is deployed here: version %s waits without one", version)
        return None
    return str(run.id)


def _words(request: ReviewRequest, engine: sa.Engine) -> str:
    """Return the decision in words, from the ledger and not from the request."""
    about = f"version {request.version} of {request.model_name}"
    if request.state is RequestState.EXPIRED:
        return f"{about}: nobody decided in time"
    record = ApprovalLedger(engine).verify_chain()[request.decided_sequence - 1]
    return f"{about}: {record.decision} by {record.by}: {record.reason} (record {record.sequence})"
