"""The markets the demo knows: overlays over ``params.yaml``. A market is chosen by parameters alone."""

import os
import re
from pathlib import Path
from typing import Any

from core.errors import BadInputError, UsageError
from core.params import read_params

_FOLDER = Path(__file__).with_name("markets")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def market_names() -> list[str]:
    """Return the names ``--market`` accepts."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def market_overlay(name: str) -> dict[str, Any]:
    """Return the parameters that a market changes, variables in its data path filled in.

    Raises:
        UsageError: there is no such market.
        BadInputError: the market needs a folder of files that is not named, or is not there.
    """
    if name not in market_names():
        raise UsageError(f"unknown market {name!r}: choose one of {', '.join(market_names())}")
    overlay = read_params(_FOLDER / f"{name}.yaml")
    path = overlay.get("data", {}).get("path")
    if path is not None:
        overlay["data"]["path"] = _existing(name, str(path))
    return overlay


def _existing(market: str, path: str) -> str:
    for variable in _VARIABLE.findall(path):
        default = (
            Path(__file__).resolve().parents[3] / "shared" / "data" if variable == "TIDEGATE_SHARED_DATA" else None
        )
        value = os.environ.get(variable) or (str(default) if default is not None and default.is_dir() else "")
        if not value:
            raise BadInputError(f"market {market} needs real files: set {variable} to the folder that holds them")
        path = path.replace(f"${{{variable}}}", value)
    if not Path(path).is_absolute():
        path = str(_FOLDER / path)  # a simulated market beside the overlay
    if not Path(path).exists():
        raise BadInputError(f"market {market}: {path} is not there; point its variable to the right folder")
    return path
