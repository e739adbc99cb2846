"""``python -m flows.pipeline_worker SOCKET_FD``: runs DVC stages of the current folder, one per line received.

One process for a whole pipeline, because importing DVC and reading the project cost more than most stages. What the
stages print goes to this process's stderr; the answers (one JSON object a line) go through the socket.
"""

import json
import os
import re
import socket
import sys
import time
from typing import Any

from core.scheduling import take_priority
from core.settings import get_settings
from flows.leftovers import clear_leftovers

END_OF_STAGE = "\x1eend of stage"


def reproduce(repository: Any, stage: str, force: bool) -> dict[str, Any]:
    """Run one stage if it or what it depends on changed; return what happened."""
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.stage.exceptions import StageCmdFailedError

    begin = time.perf_counter()
    answer: dict[str, Any] = {"stage": stage, "ran": False, "error": "", "exit_code": 0}
    try:
        answer["ran"] = bool(repository.reproduce(targets=[stage], single_item=True, force=force))
    except (DvcException, ReproductionError) as error:
        cause: BaseException = error
        while isinstance(cause.__cause__, DvcException) and not isinstance(cause, StageCmdFailedError):
            cause = cause.__cause__  # below DVC's own words come those of parsers and sockets, which help nobody
        answer["error"] = str(cause)
        code = re.search(r"exited with (\d+)$", str(cause))
        answer["exit_code"] = int(code.group(1)) if code else 1
    answer["seconds"] = time.perf_counter() - begin
    return answer


def main(descriptor: int) -> None:
    """Answer requests until the other side closes."""
    settings = get_settings().training
    take_priority(settings.priority, settings.cores)  # of this process and of every stage it runs
    connection = socket.socket(fileno=descriptor)
    stream = connection.makefile("rw")
    from dvc.repo import Repo

    repository = Repo(os.curdir)
    for words in clear_leftovers(repository):
        sys.stderr.write(f"{words}\n")
    for line in stream:
        request = json.loads(line)
        answer = reproduce(repository, request["stage"], request["force"])
        sys.stderr.write(f"{END_OF_STAGE}\n")  # so that the reader of this output knows it has read all of it
        sys.stderr.flush()
        stream.write(json.dumps(answer) + "\n")
        stream.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
