"""A real MLflow server with our app on a free port, its accounts, and the requests that its pages send."""

import importlib.metadata
import json
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.settings import MlflowSettings, Settings
from tidegate.mlflow_app.account import PROVIDER

ROOT = Path(__file__).resolve().parents[1]
PASSWORDS = {
    "reviewer_one": "a-long-word-for-reviewer_one",
    "reviewer_two": "a-long-word-for-reviewer_two",
    "engineer_one": "a-long-word-for-engineer_one",
    "desk_one": "a-long-word-for-desk_one",
}
ROLES = {"reviewer_one": "reviewer", "reviewer_two": "reviewer", "engineer_one": "engineer", "desk_one": "desk"}


def plugins(folder: Path) -> None:
    """Let this process and its children find the plug-ins of pyproject.toml where the installation is older than it."""
    if any(point.name == PROVIDER for point in importlib.metadata.entry_points(group="mlflow.app")):
        return
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = folder / "plugins" / "tidegate_plugins-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tidegate-plugins\nVersion: 0\n")
    lines = [
        line for group, points in groups.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    path = str(info.parent)
    sys.path.append(path)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), path]))


@dataclass
class Registry:
    """The server and how to reach it."""

    url: str
    settings: Settings

    def call(self, user: str, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Send what a page of the registry sends, signed in as a user."""
        import requests

        answer = requests.request(
            method, f"{self.url}/ajax-api/2.0/mlflow/{path}", json=body, auth=(user, PASSWORDS[user]), timeout=20
        )
        try:
            return answer.status_code, answer.json()
        except json.JSONDecodeError:
            return answer.status_code, answer.text

    def tag(self, user: str, name: str, version: str, key: str, value: str) -> int:
        """Set a tag of a version as its page does; return the status."""
        body = {"name": name, "version": version, "key": key, "value": value}
        return self.call(user, "POST", "model-versions/set-tag", body)[0]


def accounts_settings(state: Path) -> Settings:
    """Settings of a platform whose registry asks who one is."""
    return Settings(state_directory=state, mlflow=MlflowSettings(authentication="basic", port=0))
