"""The manifest of a catalog: which parts count. Replacing this one file is the commit."""

from pathlib import Path

import msgspec

from core.errors import IntegrityError
from core.files import write_bytes

MANIFEST = "manifest.json"
FORMAT = 1


class Part(msgspec.Struct, frozen=True):
    """One parquet file of the catalog."""

    path: str
    instrument: str
    granularity: str
    rows: int
    first_event_ns: int
    last_event_ns: int
    sha256: str


class View(msgspec.Struct, frozen=True):
    """What the last pipeline ingest asked for: the selection that the stages after it see by default."""

    source: str
    granularity: str
    instruments: tuple[str, ...]
    since_ns: int | None = None
    until_ns: int | None = None


class Manifest(msgspec.Struct, frozen=True):
    """The parts that count, in the order of their writing, and the default view."""

    format: int = FORMAT
    parts: tuple[Part, ...] = ()
    view: View | None = None


def read_manifest(root: Path) -> Manifest:
    """Return the manifest of a catalog folder; an empty one where there is no catalog yet.

    Raises:
        IntegrityError: the manifest is damaged or of another format.
    """
    path = root / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest()
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{path} is damaged: {error}; restore it or ingest into a new folder") from None
    if manifest.format != FORMAT:
        raise IntegrityError(f"{path} has format {manifest.format}, this version reads {FORMAT}: ingest anew")
    return manifest


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically."""
    write_bytes(root / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
