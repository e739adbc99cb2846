"""A Bento brings every package its code needs: it must start where nothing else of ours is installed."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from serving.bento import REQUIREMENTS

ROOT = Path(__file__).resolve().parents[3]
# What serving/bento_service.py imports beside bentoml and numpy.
MODULES = (
    "core.domain, core.errors, core.settings, serving.authentication, serving.predictor, "
    "serving.release.evidence, serving.session"
)
PROGRAM = f"""
import sys
from importlib.metadata import packages_distributions
allowed, owners = set(sys.argv[1].split(",")), packages_distributions()

class Refuse:
    def find_spec(self, name, path=None, target=None):
        names = owners.get(name.partition(".")[0])
        if names and not any(n.lower().replace("_", "-") in allowed for n in names):
            raise ModuleNotFoundError(f"{{name}} is not among the requirements of a Bento", name=name)

sys.meta_path.insert(0, Refuse())
import {MODULES}
"""


def closure(names: tuple[str, ...]) -> set[str]:
    """Return the distributions that installing ``names`` brings, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue  # for another system
        found.add(name)
        waiting += [match[0] for item in needed if "extra ==" not in item and (match := re.match(r"[\w.-]+", item))]
    return found


def started(allowed: set[str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM, ",".join(sorted({"tidegate", *allowed}))]  # our rooms lie in it
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_what_the_service_imports_is_in_the_bento() -> None:
    ended = started(closure((*REQUIREMENTS, "bentoml")))
    assert ended.returncode == 0, ended.stderr.splitlines()[-1]


def test_a_missing_requirement_is_noticed() -> None:
    ended = started(closure((*REQUIREMENTS, "bentoml")) - {"structlog"})
    assert ended.returncode != 0 and "structlog is not among the requirements" in ended.stderr
