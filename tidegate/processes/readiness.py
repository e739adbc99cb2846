"""Readiness is a real answer to a real request; an open port or a living process proves nothing."""

import http.client
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Check = Callable[[], bool]


def request(
    method: str,
    url: str,
    body: object = None,
    timeout_seconds: float = 2.0,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """Send one request and return the status and the parsed answer, or its text where it is not JSON.

    Raises:
        OSError: no connection, or no HTTP.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout_seconds)
    try:
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        content = None if body is None else json.dumps(body)
        kind = {"Content-Type": "application/json"} if content else {}
        connection.request(method, path, content, {**kind, **(headers or {})})
        response = connection.getresponse()
        text = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text.decode(errors="replace")


def request_json(
    method: str,
    url: str,
    body: object = None,
    timeout_seconds: float = 2.0,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Send one request and return the parsed answer.

    Raises:
        OSError: no connection, or the answer's status is not 2xx.
    """
    status, answer = request(method, url, body, timeout_seconds, headers)
    if not 200 <= status < 300:
        raise OSError(f"{url} answered {status}")
    return answer


def answers(
    method: str,
    url: str,
    body: object = None,
    accept: Callable[[Any], bool] = lambda answer: True,
    headers: Mapping[str, str] | None = None,
) -> Check:
    """Return a check that sends the request and lets ``accept`` judge the answer."""

    def check() -> bool:
        try:
            return accept(request_json(method, url, body, headers=headers))
        except OSError:
            return False

    return check


def read_ready_file(path: Path) -> dict[str, Any] | None:
    """Return what a process wrote when it became ready, None while it has not (or is still writing)."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
