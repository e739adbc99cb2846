"""``python -m flows.execute FLOW PARAMETERS_JSON DESCRIPTOR``: run one flow and tell its owner how it goes.

Events, the result and a failure are JSON lines on the descriptor; logs go to stderr.
"""

import asyncio
import importlib
import json
import os
import sys
from typing import Any

from core.errors import TidegateError
from core.logging import configure_logging
from core.settings import get_settings
from core.stage import one_line
from flows.progress import listen


def main(name: str, parameters: dict[str, Any], descriptor: int) -> int:
    """Run the flow; return the exit code of its outcome."""
    with os.fdopen(descriptor, "w", buffering=1) as owner:

        def write(event: dict[str, Any]) -> None:
            owner.write(json.dumps(event, default=str) + "\n")

        listen(write)
        try:
            configure_logging(get_settings().logging, f"flow {name}")
            flow = getattr(importlib.import_module(f"flows.{name}"), name)
            result = asyncio.run(flow(**parameters))
        except TidegateError as error:
            write({"event": "failed", "message": one_line(error.message), "exit_code": error.exit_code})
            return error.exit_code
        except Exception as error:
            write({"event": "failed", "message": one_line(f"{type(error).__name__}: {error}"), "exit_code": 1})
            raise
        write({"event": "result", "result": result})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])))
