"""The release service: ``python -m tidegate.release_service``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.processes.ports import HOST, choose_port
from tidegate.processes.readiness import read_ready_file, request
from tidegate.processes.service import CommandService, Launch, python
from tidegate.services.environment import QUIET

RELEASE = "release"


def release_service(
    state: Path,
    workspace: Path,
    environment: Mapping[str, str],
    port: int = 0,
    any_port_if_taken: bool = False,
    depends_on: Sequence[str] = (),
) -> CommandService:
    """Guard, watcher of the registry and releases of a state directory; ready when the guard has looked."""
    chosen: list[int] = []
    ready_file = state / "run" / "release.ready"

    def launch() -> Launch:
        if not chosen:
            chosen.append(choose_port(port, "the release service (TIDEGATE_RELEASE__PORT)", any_port_if_taken))
        ready_file.parent.mkdir(parents=True, exist_ok=True)
        ready_file.unlink(missing_ok=True)
        url = f"http://{HOST}:{chosen[0]}"
        variables = {
            **QUIET,
            **environment,
            "TIDEGATE_STATE_DIRECTORY": str(state),
            "TIDEGATE_RELEASE__PORT": str(chosen[0]),
        }
        command = python(
            "-m", "tidegate.release_service", "--workspace", str(workspace), "--ready-file", str(ready_file)
        )

        def ready() -> bool:
            try:
                return read_ready_file(ready_file) is not None and request("GET", f"{url}/status")[0] == 200
            except OSError:
                return False

        return Launch(command, ready, url, variables, state)

    return CommandService(RELEASE, launch, depends_on=depends_on, timeout_seconds=90.0, grace_seconds=8.0)


def told(picture: dict[str, Any]) -> str:
    """Return in one line what the service says about itself.

    Raises:
        OSError: the guard does not look.
    """
    troubles = "; ".join(f"{name}: {words}" for name, words in sorted(picture["troubles"].items()))
    if not picture["healthy"]:
        raise OSError(troubles or "the guard has not looked lately")
    lasting = ", ".join(f"{t['arm']} {t['kind']} {t['severity']}" for t in picture["triggers"])
    guarded = f"guards {', '.join(picture['strategies']) or 'no strategy yet'}"
    return "; ".join(words for words in (guarded, lasting, troubles) if words)
