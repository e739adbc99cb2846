"""The digest of the kernel's own source: it names the arithmetic a feature value came from."""

from functools import lru_cache
from pathlib import Path

from core.digest import digest_files


@lru_cache(maxsize=1)
def kernel_digest() -> str:
    """Return the SHA-256 over every source file of this package."""
    folder = Path(__file__).parent
    return digest_files(folder, sorted(folder.glob("*.py")))
