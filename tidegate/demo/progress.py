"""Progress of the demo on stderr: a live table on a terminal, one line per event elsewhere."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from core.errors import TidegateError


@dataclass
class Stage:
    """One stage as the user sees it."""

    key: str
    title: str
    state: str = "waiting"  # waiting, running, done, failed
    detail: str = ""
    fraction: float | None = None
    started: float = 0.0
    seconds: float = 0.0
    facts: dict[str, object] = field(default_factory=dict)


_MARKS = {"waiting": Text("·", style="dim"), "done": Text("✓", style="green"), "failed": Text("✗", style="red")}


class Progress:
    """The stages of one run. Use as a context manager; ``stage`` opens one of them."""

    def __init__(self, stages: list[tuple[str, str]], quiet: bool = False) -> None:
        self.stages = {key: Stage(key, title) for key, title in stages}
        self._console = Console(file=sys.stderr, quiet=quiet)
        self._live: Live | None = None
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._started

    def __enter__(self) -> "Progress":
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(self, console=self._console, refresh_per_second=8, transient=False)
            self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
            self._live = None

    @contextmanager
    def stage(self, key: str) -> Generator[Stage]:
        """Run one stage; an error marks it failed and goes on up."""
        stage = self.stages[key]
        stage.state, stage.started = "running", time.monotonic()
        self._say(f"{stage.title} …")
        try:
            yield stage
        except BaseException as error:
            stage.state = "failed"
            stage.detail = error.message if isinstance(error, TidegateError) else type(error).__name__
            raise
        else:
            stage.state, stage.fraction = "done", None
            self._say(f"{stage.title}: {stage.detail or 'done'} ({time.monotonic() - stage.started:.1f} s)")
        finally:
            stage.seconds = time.monotonic() - stage.started

    def note(self, key: str, detail: str, fraction: float | None = None) -> None:
        """Say what a running stage is doing."""
        stage = self.stages[key]
        changed = detail != stage.detail
        stage.detail, stage.fraction = detail, fraction
        if changed and fraction is None:
            self._say(f"  {stage.title}: {detail}")

    def _say(self, line: str) -> None:
        if self._live is None:
            self._console.print(f"[{self.seconds:6.1f} s] {line}", highlight=False, markup=False, soft_wrap=True)

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True, width=max(len(stage.title) for stage in self.stages.values()))
        table.add_column(justify="right", width=8)
        table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
        for stage in self.stages.values():
            running = stage.state == "running"
            seconds = time.monotonic() - stage.started if running else stage.seconds
            mark = Spinner("dots", style="cyan") if running else _MARKS[stage.state]
            detail: RenderableType = Text(stage.detail, style="" if running else "dim")
            if running and stage.fraction is not None:
                bar = Table.grid(padding=(0, 1))
                bar.add_row(ProgressBar(total=1.0, completed=stage.fraction, width=24), detail)
                detail = bar
            title = Text(stage.title, style="bold" if running else "dim" if stage.state == "waiting" else "")
            table.add_row(mark, title, f"{seconds:.1f} s" if seconds else "", detail)
        return Group(table)
