"""The supervisor: services of one state directory, started in dependency order, watched, stopped in reverse."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from core.embedded.lock import DirectoryLock
from core.errors import TidegateError, UnavailableError
from core.logging import get_logger
from tidegate.processes import records
from tidegate.processes.service import Service

log = get_logger("tidegate")

_STABLE_SECONDS = 60.0  # a service that ran this long starts its back-off anew


@dataclass(frozen=True)
class Event:
    """What happens to a service: starting, ready, failed, crashed, stopping, stopped."""

    service: str
    state: str
    detail: str = ""
    seconds: float = 0.0


def _ignore(_event: Event) -> None:
    """Nobody listens."""


class Supervisor:
    """Owner of the services of one state directory. Use as a context manager: leaving it ends them all.

    Only one process may own the services of a state directory: the lock is held by every guardian, so it is free
    exactly when the last service of a former owner, killed or not, is gone.
    """

    def __init__(
        self, state: Path, on_event: Callable[[Event], None] = _ignore, patience_seconds: float = 40.0
    ) -> None:
        self.state = state.absolute()
        self._on_event = on_event
        self._patience_seconds = patience_seconds
        self._services: dict[str, Service] = {}
        self._restarts: dict[str, int] = {}
        self._lock = DirectoryLock(records.folder(self.state))
        self._released = False

    @property
    def services(self) -> dict[str, Service]:
        """The running services by name, in the order of their start."""
        return dict(self._services)

    def open(self) -> Self:
        """Take the state directory; first end what a killed owner left there.

        Raises:
            UnavailableError: another process owns its services and goes on.
        """
        deadline = time.monotonic() + self._patience_seconds
        waited = False
        while not self._lock.acquire():
            # Guardians of a killed owner need a moment to end theirs; a living or releasing owner stays.
            if not self._lock.abandoned() or time.monotonic() > deadline:
                raise UnavailableError(
                    f"the services of {self.state} already run: `tidegate status` shows them, `tidegate down` ends them"
                )
            if not waited:
                self._on_event(Event("supervisor", "waiting", "for the services of an earlier run to end"))
                waited = True
            time.sleep(0.1)
        records.end_recorded(self.state)
        return self

    def start(self, *services: Service) -> None:
        """Start services, those that do not depend on each other at the same time, and wait until all answer.

        Raises:
            BadInputError, UnavailableError: one did not come up; those of this call that had are stopped again.
        """
        pending = {service.name: service for service in services}
        for service in services:
            unknown = [n for n in service.depends_on if n not in pending and n not in self._services]
            if unknown:
                raise UnavailableError(f"{service.name} needs {', '.join(unknown)}, which is not started")
        started: list[str] = []
        running: dict[Future[float], Service] = {}
        failure: BaseException | None = None
        pool = ThreadPoolExecutor(max_workers=len(services) or 1, thread_name_prefix="start")
        try:
            while running or (pending and failure is None):
                if failure is None:
                    for name in [n for n, s in pending.items() if all(d in self._services for d in s.depends_on)]:
                        service = pending.pop(name)
                        self._on_event(Event(name, "starting"))
                        running[pool.submit(self._start_one, service)] = service
                    if not running:
                        raise UnavailableError(f"services depend on each other in a circle: {', '.join(pending)}")
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    service = running.pop(future)
                    error = future.exception()
                    if error is not None:
                        failure = failure or error
                        detail = error.message if isinstance(error, TidegateError) else repr(error)
                        self._on_event(Event(service.name, "failed", detail))
                        continue
                    self._services[service.name] = service
                    started.append(service.name)
                    self._on_event(Event(service.name, "ready", service.url, future.result()))
            if failure is not None:
                raise failure
        except BaseException:
            for future, service in running.items():
                if not future.cancel():
                    service.stop()  # makes its start fail at once
                    with contextlib.suppress(BaseException):
                        future.result()
                    service.stop()
            self.stop(started)
            raise
        finally:
            pool.shutdown(wait=True)

    def _start_one(self, service: Service) -> float:
        begin = time.monotonic()
        service.start(self.state / "logs", (self._lock.descriptor,))
        if service.process is not None:
            records.write_record(
                self.state, service.name, service.process, service.url, self._restarts.get(service.name, 0)
            )
        return time.monotonic() - begin

    def stop(self, names: Sequence[str] | None = None) -> None:
        """End services (all, when none are named), those others depend on last."""
        left = [name for name in self._services if names is None or name in names]
        while left:
            needed = {d for name in left for d in self._services[name].depends_on}
            level = [name for name in left if name not in needed] or left
            with ThreadPoolExecutor(max_workers=len(level), thread_name_prefix="stop") as pool:
                for future in [pool.submit(self._stop_one, self._services[name]) for name in level]:
                    future.result()
            for name in level:
                del self._services[name]
            left = [name for name in left if name not in level]

    def _stop_one(self, service: Service) -> None:
        self._on_event(Event(service.name, "stopping"))
        begin = time.monotonic()
        service.stop()
        records.remove_record(self.state, service.name)
        self._on_event(Event(service.name, "stopped", seconds=time.monotonic() - begin))

    def watch(self, stop: threading.Event) -> None:
        """Restart services that end, with growing pauses (1 s to 60 s), until ``stop`` is set."""
        pauses: dict[str, float] = {}
        due: dict[str, float] = {}
        up_since = dict.fromkeys(self._services, time.monotonic())
        while not stop.wait(0.5):
            for name, service in list(self._services.items()):
                now = time.monotonic()
                if service.process is not None and service.process.running and name not in due:
                    if now - up_since[name] > _STABLE_SECONDS:
                        pauses.pop(name, None)
                    continue
                if name not in due:
                    pauses[name] = min(pauses.get(name, 0.5) * 2, 60.0)
                    due[name] = now + pauses[name]
                    code = service.process.poll() if service.process is not None else None
                    self._on_event(Event(name, "crashed", f"code {code}; next start in {pauses[name]:.0f} s"))
                    service.stop()  # clears what its guardian may have left when it was killed itself
                elif now >= due[name]:
                    self._restart(name, service)
                    if service.process is None:  # the next attempt comes later
                        pauses[name] = min(pauses[name] * 2, 60.0)
                        due[name] = time.monotonic() + pauses[name]
                    else:
                        del due[name]
                        up_since[name] = time.monotonic()

    def _restart(self, name: str, service: Service) -> None:
        self._restarts[name] = self._restarts.get(name, 0) + 1
        try:
            seconds = self._start_one(service)
        except TidegateError as error:
            self._on_event(Event(name, "failed", error.message))
        else:
            self._on_event(Event(name, "ready", service.url, seconds))

    def release(self) -> None:
        """Leave the services running after this process; ``tidegate down`` ends them."""
        for service in self._services.values():
            if service.process is not None:
                service.process.release()
        self._services.clear()
        self._released = True

    def close(self) -> None:
        """End every service and give the state directory back."""
        try:
            self.stop()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
