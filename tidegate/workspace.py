"""Workspaces: folders with their own ``params.yaml``, ``dvc.yaml``, data, models and reports.

The repository root is one; the demo and anybody who tries other parameters make more. A workspace keeps its DVC cache
and ``dvc.lock``, so that a second run does only what changed. Nothing is written outside of it and the state directory.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

import yaml

from core.digest import digest_bytes
from core.errors import BadInputError, UnavailableError
from core.files import write_bytes
from core.params import read_params

# Mappings that name one choice: an overlay replaces them whole, since merging would leave two answers.
_CHOICES = frozenset({"holdout"})


def pipeline_source() -> Path:
    """The folder that holds the ``dvc.yaml`` and ``params.yaml`` of the project: here, or the repository of this code.

    Raises:
        BadInputError: there is none.
    """
    for folder in (Path.cwd(), Path(__file__).resolve().parents[1]):
        if (folder / "dvc.yaml").exists() and (folder / "params.yaml").exists():
            return folder
    raise BadInputError("no dvc.yaml and params.yaml here: run from the repository")


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``overlay``; mappings merge, all else (lists too) is replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and key not in _CHOICES:
            merged[key] = merge(cast("Mapping[str, Any]", old), cast("Mapping[str, Any]", value))
        else:
            # DVC tracks text and numbers only; YAML reads an unquoted 2020-01-31 as a date.
            merged[key] = value.isoformat() if isinstance(value, date) else value
    return merged


def create_workspace(path: Path, overlay: Mapping[str, Any] | None = None, source: Path | None = None) -> Path:
    """Make or refresh a workspace and return its absolute path.

    Args:
        path: the folder; made when missing. What it holds already (lock, cache, data, models) stays.
        overlay: values that replace those of the source's ``params.yaml``.
        source: where ``dvc.yaml`` and ``params.yaml`` come from; see ``pipeline_source``.

    Raises:
        BadInputError: the source has no such files, or the path is no folder.
        UnavailableError: DVC cannot initialise the folder.
    """
    origin = (source or pipeline_source()).absolute()
    workspace = path.absolute()
    if workspace.exists() and not workspace.is_dir():
        raise BadInputError(f"{workspace} is not a folder: choose another workspace")
    workspace.mkdir(parents=True, exist_ok=True)
    params = merge(read_params(origin / "params.yaml"), overlay or {})
    _replace(workspace / "params.yaml", yaml.safe_dump(params, sort_keys=False, allow_unicode=True).encode())
    _replace(workspace / "dvc.yaml", (origin / "dvc.yaml").read_bytes())
    _replace(workspace / ".dvcignore", b"var\n")
    if not (workspace / ".dvc" / "config").exists():
        _initialise(workspace)
    return workspace


def pipeline_environment(workspace: Path, state: Path) -> dict[str, str]:
    """Return the variables under which DVC and its stages run in a workspace: our interpreter, nothing outside.

    DVC's own site cache and user configuration are moved into the state directory.
    """
    bin_folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    folder = state.absolute() / "dvc"
    return {
        "PATH": path if path.split(os.pathsep)[0] == bin_folder else f"{bin_folder}{os.pathsep}{path}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(folder / "system"),
        "TIDEGATE_STATE_DIRECTORY": str(state.absolute()),
    }


def _initialise(workspace: Path) -> None:
    """``dvc init --no-scm``; its config is written last, so that a kill half-way is noticed and mended."""
    half = workspace / ".dvc"
    if half.exists():
        shutil.rmtree(half)
    environment = {**os.environ, **pipeline_environment(workspace, workspace / ".dvc" / "tmp")}
    # No analytics, no update check: nothing of a workspace concerns anybody else.
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnavailableError(f"DVC cannot initialise {workspace}: {reason}")
    write_bytes(half / "config", b"[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")


def _replace(path: Path, content: bytes) -> None:
    """Write a file only if it differs: its time of change tells DVC whether to look."""
    if not path.exists() or digest_bytes(path.read_bytes()) != digest_bytes(content):
        write_bytes(path, content)
