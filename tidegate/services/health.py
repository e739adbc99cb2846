"""Health of running services: each is asked a question that it can only answer when it works."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from core.settings import get_settings
from tidegate.mlflow_app.account import authorization
from tidegate.processes.memory import proportional_set_size, tree
from tidegate.processes.readiness import request, request_json
from tidegate.processes.records import RunRecord
from tidegate.services.pusher import consumes
from tidegate.services.release import told
from tidegate.services.serving import replica_answers


class Health(msgspec.Struct, frozen=True):
    """One service as `tidegate status` shows it."""

    name: str
    running: bool
    answers: bool
    url: str
    detail: str
    memory_bytes: int  # proportional set size of the service's whole process tree
    started: float
    restarts: int
    log: str


def check_all(records: list[RunRecord]) -> list[Health]:
    """Ask every recorded service at the same time."""
    if not records:
        return []
    with ThreadPoolExecutor(max_workers=len(records)) as pool:
        return list(pool.map(check, records))


def check(record: RunRecord) -> Health:
    """Ask one service."""
    answers, detail = False, "ended"
    if record.alive:
        try:
            detail = _ask(record)
            answers = True
        except Exception as error:  # whatever a broken service does must not break the status
            detail = " ".join(str(error).split())[:200] or type(error).__name__
    return Health(
        name=record.name,
        running=record.alive,
        answers=answers,
        url=record.url,
        detail=detail,
        memory_bytes=proportional_set_size(tree(record.guardian[0])) if record.alive else 0,
        started=record.started,
        restarts=record.restarts,
        log=record.log,
    )


def _ask(record: RunRecord) -> str:
    """Return what the service says about itself.

    Raises:
        Exception: it does not answer as it should.
    """
    name, url = record.name, record.url
    if name == "postgres":
        import sqlalchemy as sa

        from core.database import create_engine

        with create_engine(url, connect_timeout_seconds=2).connect() as connection:
            return f"PostgreSQL {connection.execute(sa.text('SHOW server_version')).scalar_one()}"
    if name == "redis":
        import redis

        client = redis.Redis.from_url(url, socket_timeout=2.0)
        keys: Any = client.dbsize()
        client.close()
        return f"{keys} keys"
    if name == "mlflow":
        search = f"{url}/api/2.0/mlflow/registered-models/search"
        found = request_json("GET", search, headers=authorization(get_settings()))
        return f"{len(found.get('registered_models', []))} registered models"
    if name == "prefect":
        return f"{request_json('POST', f'{url}/flow_runs/count', {})} flow runs"
    if name == "deployments":
        found = request_json("POST", f"{url}/deployments/filter", {"limit": 50})
        if not found or any(item["status"] != "READY" for item in found):
            raise OSError("its deployments are not ready: the process does not poll")
        return ", ".join(sorted(item["name"] for item in found))
    if name == "pusher":
        if not consumes(record.url, record.command[0]):
            raise OSError("it reads no stream of feature rows")
        return "reads the trader's feature rows"
    if name == "serving":
        status, answer = request("GET", f"{url}/healthz")  # makes a prediction with every champion
        if status == 200:
            return "answers with an approved model"
        if not replica_answers(url):
            raise OSError(f"{url} answered {status}")
        failures: dict[str, str] = answer.get("failures", {}) if isinstance(answer, dict) else {}
        if failures:
            raise OSError("; ".join(f"{strategy}: {words}" for strategy, words in sorted(failures.items())))
        return "answers; no approved model yet"
    if name == "release":
        return told(request_json("GET", f"{url}/status"))
    return "runs"
