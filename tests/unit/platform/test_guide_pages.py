"""The pages say what there is: settings, sections of parameters, commands and their options, links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from core.settings import Settings
from tidegate.cli import app

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "guide"
PAGES = sorted([ROOT / "README.md", *GUIDE.glob("*.md"), *(ROOT / "docs" / "adr").glob("*.md")])
_NO_SETTINGS = {"TIDEGATE_SHARED_DATA", "TIDEGATE_CRASH_POINT"}  # read outside of core.settings


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def written_commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `tidegate …` line of a page's code blocks."""
    for block in re.findall(r"```(?:sh|bash)?\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("tidegate "):
                yield shlex.split(line, comments=True)[1:]


def test_every_setting_is_on_the_page_and_no_other() -> None:
    names: set[str] = set()
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            names |= {f"TIDEGATE_{name}__{inner}".upper() for inner in section.model_fields}
        else:
            names.add(f"TIDEGATE_{name}".upper())
    told = set(re.findall(r"TIDEGATE_[A-Z_]+", (GUIDE / "settings.md").read_text()))
    assert told - _NO_SETTINGS == names


def test_every_section_of_the_parameters_is_on_the_page_and_no_other() -> None:
    page = (GUIDE / "ml-engineer.md").read_text()
    table = page.split("## params.yaml", 1)[1].split("\n## ", 1)[0]
    told = {name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert told == set(yaml.safe_load((ROOT / "params.yaml").read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([\w./#-]+)\)", page.read_text(), re.ASCII):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    root = typer.main.get_command(app)
    for words in written_commands(page):
        command: Any = root
        while words and not words[0].startswith("-") and (below := getattr(command, "commands", None)):
            assert words[0] in below, words
            command, words = below[words[0]], words[1:]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        for word in words:
            if word.startswith("-"):
                assert word.partition("=")[0] in options, (command.name, word)
