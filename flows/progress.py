"""How far a flow is, told to whoever started it: one event a step, beside what the Prefect page shows."""

from collections.abc import Callable
from typing import Any

Listener = Callable[[dict[str, Any]], None]

_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Call ``listener`` with each event of this process's flows."""
    _listeners.append(listener)


def tell(event: str, **facts: Any) -> None:
    """Tell the listeners; without any, nothing happens."""
    for listener in _listeners:
        listener({"event": event, **facts})
