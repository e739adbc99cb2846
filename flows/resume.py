"""Resume suspended flow runs whose review is decided: over Prefect's HTTP API, without its library.

Called by whoever watches the reviews, again and again: a run that is not suspended yet is resumed at the next look, one
that has ended is no longer waited for. A kill between the two steps resumes a run twice at most, which Prefect refuses.
"""

import json
import urllib.error
import urllib.request
from typing import Any

from core.errors import UnavailableError
from core.logging import get_logger
from serving.release.review_requests import ReviewRequest, ReviewRequests

_TIMEOUT_SECONDS = 5.0
_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
_log = get_logger("flows")


def resume_decided(requests: ReviewRequests, api_url: str) -> list[ReviewRequest]:
    """Resume the flow runs that wait for what is decided or expired; return whose runs go on now.

    Args:
        requests: of the platform's database.
        api_url: of the Prefect server, ending in ``/api``.

    Raises:
        UnavailableError: Prefect or the database does not answer; call again.
    """
    resumed: list[ReviewRequest] = []
    for request in requests.untold():
        run = f"{api_url}/flow_runs/{request.flow_run_id}"
        found = _ask("GET", run)
        kind = "" if found is None else str(found.get("state_type"))
        if found is None or kind in _ENDED:
            _log.warning("the flow run of a review is gone", run=request.flow_run_id, state=kind or "unknown")
            requests.told(request)
        elif kind == "PAUSED":
            answer = _ask("POST", f"{run}/resume", {})
            if answer is not None and answer.get("status") == "ACCEPT":
                requests.told(request)
                resumed.append(request)
    return resumed


def _ask(method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Return the answer, None where there is no such run."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise UnavailableError(f"the Prefect server answered {error.code} to {method} {url}") from error
    except OSError as error:
        raise UnavailableError(f"the Prefect server does not answer: {error}") from error
