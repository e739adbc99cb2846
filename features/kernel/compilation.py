"""How kernel functions are compiled: IEEE arithmetic as written, and a cache that cannot be stale or in the way.

numba keeps the machine code of a function beside its source file and renews it when *that* file changes. The kernel is
spread over several files, so a change in a part would leave old code in the callers. The cache therefore lives in a
folder named by the digest of the whole kernel. An installation may be read-only, so the folder is the first of these
that can be written: ``NUMBA_CACHE_DIR``, ``__pycache__`` beside this file, the user's cache, a private temporary one.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import numba
from numpy.typing import NDArray

from features.kernel.source import kernel_digest

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# How kernel functions name their arguments to the type checker; numba infers its own types.
Table = NDArray[Any]


class Floats(Protocol):
    """A float64 array of one dimension."""

    def __getitem__(self, position: int, /) -> float: ...

    def __setitem__(self, position: Any, value: float, /) -> None: ...

    def __len__(self) -> int: ...


class Integers(Protocol):
    """An int64 array of one dimension."""

    def __getitem__(self, position: int, /) -> int: ...

    def __setitem__(self, position: Any, value: int, /) -> None: ...

    def __len__(self) -> int: ...


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen)
    yield Path(__file__).parent / "__pycache__"
    with contextlib.suppress(RuntimeError):  # a container's user may have no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tidegate"
    yield Path(tempfile.gettempdir()) / f"tidegate-{os.getuid()}"


@lru_cache(maxsize=1)
def cache_directory() -> Path | None:
    """Return the folder for this kernel's machine code; None when no folder can be written: then nothing is kept.

    A folder that another user owns is never used: what is read from it is executed.
    """
    for base in _candidates():
        folder = base / f"kernel-{kernel_digest()[:16]}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK | os.X_OK):
                return folder
        except OSError:
            continue
    return None


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a kernel function: no fast-math, no contraction, division by zero as IEEE 754 has it."""
    folder = cache_directory()
    configuration = cast(Any, numba).config
    previous = configuration.CACHE_DIR
    # numba fixes a function's cache folder when it is decorated; other rooms keep their own setting.
    configuration.CACHE_DIR = str(folder or "")
    try:
        decorate = cast(Any, numba).njit(cache=folder is not None, error_model="numpy", fastmath=False)
        return cast(Callable[Parameters, Result], decorate(function))
    finally:
        configuration.CACHE_DIR = previous
