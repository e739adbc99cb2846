"""The feature pusher: takes the feature rows the trader publishes and pushes them through Feast."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.params import read_params
from tidegate.processes.service import CommandService, Launch, python
from tidegate.services.environment import QUIET

PUSHER = "pusher"
GROUP = "feast"


def pusher_service(
    redis_url: str, workspace: Path, environment: Mapping[str, str], depends_on: Sequence[str] = ()
) -> CommandService:
    """``python -m features.push`` for the feature set of a workspace; ready when its consumer is in the group."""

    def launch() -> Launch:
        chosen = str(read_params(workspace / "params.yaml")["features"]["set"])
        variables = {**QUIET, **environment, "TIDEGATE_REDIS__URL": redis_url}
        command = python("-m", "features.push", "--set", chosen, "--workspace", str(workspace))
        return Launch(command, reads, redis_url, variables)

    def reads() -> bool:
        return service.process is not None and consumes(redis_url, service.process.pid)

    service = CommandService(PUSHER, launch, depends_on=depends_on, timeout_seconds=90.0, grace_seconds=8.0)
    return service


def consumes(redis_url: str, pid: int) -> bool:
    """Whether the pusher with this process id reads a stream of feature rows."""
    import redis

    client: Any = redis.Redis.from_url(redis_url, socket_timeout=2.0)
    prefix = f"{socket.gethostname()}-{pid}-".encode()
    try:
        for stream in client.scan_iter(_type="stream"):
            try:
                consumers = client.xinfo_consumers(stream, GROUP)
            except redis.ResponseError:  # a stream without our group
                continue
            if any(bytes(consumer["name"]).startswith(prefix) for consumer in consumers):
                return True
        return False
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()
