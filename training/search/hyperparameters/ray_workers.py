"""Workers as Ray actors: the same orders, on whatever machines the cluster has.

The job (rows, folds, parameters) goes through Ray's object store, so that the machines need no shared folder. They
must reach the database of the search, which is therefore no SQLite file unless the cluster is this machine.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from core.errors import BadInputError
from training.models.interface import THREADS
from training.search.cluster import Cluster
from training.search.hyperparameters.worker import Broken, Job, Reply, Worker


class RayHandle:
    """One actor."""

    def __init__(self, ray: Any, actor: Any, number: int) -> None:
        self._ray = ray
        self._actor = actor
        self._number = number
        self.reference: Any = None

    @property
    def name(self) -> str:
        """Its number."""
        return f"Ray worker {self._number}"

    def send(self, order: str, argument: Any = None) -> None:
        """Give an order."""
        method = getattr(self._actor, order)
        self.reference = method.remote() if argument is None else method.remote(argument)

    def receive(self) -> Reply | None:
        """Return the reply, or None where the actor or its machine is dead."""
        reference, self.reference = self.reference, None
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayActorError:
            return None
        except self._ray.exceptions.RayTaskError as error:  # it could not even be made, such as without the database
            return Broken(str(error.cause))

    def end(self) -> None:
        """Kill the actor; its trial becomes a lost one when the ledger's lease of its process is over."""
        self._ray.kill(self._actor, no_restart=True)

    def dismiss(self) -> None:
        """Let an idle worker give the database back, then end it."""
        with contextlib.suppress(self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError):
            self._ray.get(self._actor.close.remote(), timeout=10.0)
        self.end()


class RayPool:
    """Actors on the cluster at ``address``, or on one of this machine that ends with the search."""

    def __init__(self, job: Job, address: str | None) -> None:
        if address is not None and job.database_url.startswith("sqlite"):
            raise BadInputError(
                "a search on a Ray cluster needs a database that its machines can reach: set TIDEGATE_DATABASE__URL "
                "to a PostgreSQL, or leave search.hyperparameters.ray_address empty"
            )
        self._cluster = Cluster("search.hyperparameters.backend", address)
        self._ray: Any = self._cluster.ray
        self._job = self._ray.put(job)
        self._worker = self._ray.remote(Worker)
        self._count = 0

    def start(self) -> RayHandle:
        """Start one actor with as many processors as a fit uses threads, or all of a smaller cluster."""
        processors = min(float(THREADS), max(self._cluster.processors / 2.0, 0.5))
        self._count += 1
        actor = self._worker.options(num_cpus=processors, max_restarts=0).remote(self._job)
        return RayHandle(self._ray, actor, self._count)

    def ready(self, handles: Sequence[RayHandle], seconds: float) -> list[RayHandle]:
        """Return the workers that replied or died."""
        references = [handle.reference for handle in handles]
        found, _ = self._ray.wait(references, num_returns=1, timeout=seconds)
        return [handle for handle in handles if handle.reference in found]

    def close(self) -> None:
        """Leave the cluster; one that was started for this search ends."""
        self._cluster.close()
