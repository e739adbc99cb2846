"""Joining a Ray cluster: the one a setting names, or one of this machine that ends with the search."""

import logging
import os
from types import TracebackType
from typing import Any, Self

from core.errors import BadInputError, UnavailableError


class Cluster:
    """A connection to Ray; ``close`` ends what was begun for it and leaves a cluster that runs by itself alone.

    Args:
        setting: the key of ``params.yaml`` that asked for Ray, for the message where it is not installed.
        address: of a running cluster, such as ``ray://host:10001``; None: a cluster of this machine.

    Raises:
        BadInputError: Ray is not installed.
        UnavailableError: no cluster answers at the address.
    """

    def __init__(self, setting: str, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a search reports to nobody
        try:
            import ray
        except ImportError:
            raise BadInputError(
                f"{setting} is ray, but Ray is not installed: pip install 'tidegate[serving]'"
            ) from None
        self.ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError) as error:
                where = "on this machine" if address is None else f"at {address}"
                raise UnavailableError(f"no Ray cluster answers {where}: {str(error).splitlines()[0]}") from None

    @property
    def processors(self) -> float:
        """Processors of the cluster, all machines together."""
        return float(self.ray.cluster_resources().get("CPU", 1.0))

    def close(self) -> None:
        """Leave the cluster; one that was started for this search ends."""
        if self._ours:
            self.ray.shutdown()

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
