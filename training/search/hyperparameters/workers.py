"""Workers as the coordinator holds them: orders go out, replies come back, and a dead worker is noticed."""

from collections.abc import Sequence
from typing import Any, Protocol

from training.search.hyperparameters.parameters import SearchParameters
from training.search.hyperparameters.worker import Job, Reply


class Handle(Protocol):
    """One worker. It has at most one order at a time."""

    @property
    def name(self) -> str:
        """What to call it in a message."""
        ...

    def send(self, order: str, argument: Any = None) -> None:
        """Give an order: ``begin``, ``fold``, ``prune`` or ``finish``, with its argument."""
        ...

    def receive(self) -> Reply | None:
        """Return the reply to the last order, or None where the worker is dead."""
        ...

    def end(self) -> None:
        """End the worker at once, whatever it is doing."""
        ...

    def dismiss(self) -> None:
        """End an idle worker in order."""
        ...


class Pool(Protocol):
    """Where workers come from."""

    def start(self) -> Handle:
        """Start one worker; it is ready for orders at once, they wait until it is up."""
        ...

    def ready(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        """Return those of the given workers that replied or died, waiting at most so long for the first."""
        ...

    def close(self) -> None:
        """Give back what the pool itself holds, after its workers ended."""
        ...


def open_pool(parameters: SearchParameters, job: Job) -> Pool:
    """Return the pool that ``search.hyperparameters.backend`` names.

    Raises:
        UnavailableError: the Ray cluster does not answer.
        BadInputError: Ray is not installed.
    """
    if parameters.backend == "ray":
        from training.search.hyperparameters.ray_workers import RayPool

        return RayPool(job, parameters.ray_address)
    from training.search.hyperparameters.processes import ProcessPool

    return ProcessPool(job)
