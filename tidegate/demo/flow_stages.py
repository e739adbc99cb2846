"""Follow the flow's DVC stages in the demo's own progress, and do work beside it."""

import re
import threading
from contextlib import ExitStack
from typing import Any

from tidegate.demo.progress import Progress

# Which of our stages a DVC stage belongs to.
_SHOWN_AS = {
    "code": "ingest",
    "source": "ingest",
    "ingest": "ingest",
    "features": "features",
    "labels": "dataset",
    "dataset": "dataset",
    "blend": "train",
    "evaluate": "evaluate",
    "register": "register",
}


# What DVC and MLflow say beside the stages' own words.
_NOISE = re.compile(r"(Running stage|> python|Updating lock|WARNING: |🏃|🧪|\d{4}[-/]\d\d[-/]\d\d)")


class FlowStages:
    """Shows the flow's DVC stages as ours, one open at a time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stack = ExitStack()
        self._open = ""

    def __enter__(self) -> "FlowStages":
        self._switch("ingest")
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def take(self, event: dict[str, Any]) -> None:
        """Follow one event of the flow."""
        if event["event"] == "stage" and event["state"] == "running":
            name = str(event["stage"])
            self._switch(_SHOWN_AS.get(name, "train"))
            self._progress.note(self._open, name)
        elif event["event"] == "line":
            text = str(event["text"]).strip()
            if text and not _NOISE.match(text):
                self._progress.note(self._open, text[:160])

    def _switch(self, key: str) -> None:
        if key != self._open:
            self._stack.close()
            self._open = key
            self._stack.enter_context(self._progress.stage(key))


class Background:
    """Work in a thread whose error comes out where its result is asked for."""

    def __init__(self, work: Any) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error

    def result(self) -> None:
        """Wait for the end; raise what the work raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
