"""The worked example of docs/guide/statistics.md prints what the page says it prints."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "statistics.md"


def test_the_worked_example_prints_what_the_page_shows() -> None:
    text = PAGE.read_text("utf-8")
    code, shown = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", text, re.DOTALL).groups()  # type: ignore[union-attr]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {"__name__": "guide"})
    number = re.compile(r"-?\d+(?:\.\d+)?")
    assert number.sub("#", printed.getvalue()) == number.sub("#", shown)
    for ours, theirs in zip(number.findall(printed.getvalue()), number.findall(shown), strict=True):
        # Sums differ in the last bits between processors, and a printed digit may turn over.
        assert float(ours) == pytest.approx(float(theirs), rel=0.01, abs=0.011)
