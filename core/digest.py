"""Digests: SHA-256 of files, folders and values, the currency of lineage and of the approval ledger."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in hex."""
    return hashlib.sha256(content).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return the one JSON form of a value: sorted keys, no spaces, UTF-8; NaN is an error."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_value(value: Any) -> str:
    """Return the SHA-256 of a JSON-serialisable value."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(root: Path, paths: Iterable[Path]) -> str:
    """Return one SHA-256 over the relative names and contents of files, independent of their order."""
    return digest_value(sorted((path.relative_to(root).as_posix(), digest_file(path)) for path in paths))


def digest_source(*packages: str) -> str:
    """Return one SHA-256 over the Python sources of installed packages, such as ``features``.

    This is the code digest of lineage records: it changes when a line of the room changes and not otherwise.
    """
    import importlib.util

    parts: list[tuple[str, str]] = []
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"no package {package!r}")
        root = Path(next(iter(spec.submodule_search_locations)))
        parts += [(f"{package}/{p.relative_to(root).as_posix()}", digest_file(p)) for p in sorted(root.rglob("*.py"))]
    return digest_value(sorted(parts))
