"""How numerical code is compiled: IEEE arithmetic as written, and a cache that cannot be stale or in the way.

numba keeps the machine code of a function beside its source file and renews it when *that* file changes. Where the code
is spread over several files, a change in a part would leave old code in the callers. The cache therefore lives in a
folder named by the digest of all of it. An installation may be read-only, so the folder is the first of these that can
be written: ``NUMBA_CACHE_DIR``, ``__pycache__`` beside the code, the user's cache, a private temporary one.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _candidates(beside: Path) -> Iterator[Path]:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen)
    yield beside / "__pycache__"
    with contextlib.suppress(RuntimeError):  # a container's user may have no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tidegate"
    yield Path(tempfile.gettempdir()) / f"tidegate-{os.getuid()}"


def machine_code_folder(label: str, digest: str, beside: Path) -> Path | None:
    """Return the folder for machine code of this digest; None when no folder can be written: then nothing is kept.

    A folder that another user owns is never used: what is read from it is executed.

    Args:
        label: first part of the folder's name.
        digest: of everything that goes into the machine code.
        beside: the folder of the source.
    """
    for base in _candidates(beside):
        folder = base / f"{label}-{digest[:16]}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK | os.X_OK):
                return folder
        except OSError:
            continue
    return None


def compile_into(
    folder: Path | None,
    function: Callable[Parameters, Result],
    nogil: bool = False,
    inline: bool = False,
    inner: bool = False,
) -> Callable[Parameters, Result]:
    """Compile a function on its first call: no fast-math, no contraction, division by zero as IEEE 754 has it.

    Args:
        folder: of its machine code; None keeps none.
        function: what numba understands.
        nogil: whether it lets other threads of the interpreter run.
        inline: whether its machine code is put where it is called: for what is called once a row or more often.
        inner: whether only compiled functions call it: Python then cannot, and compiling it takes half as long.
    """
    import numba

    options: dict[str, Any] = {"nogil": nogil, "forceinline": inline}
    if inner:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    configuration = cast(Any, numba).config
    previous = configuration.CACHE_DIR
    # numba fixes a function's cache folder when it is decorated; other rooms keep their own setting.
    configuration.CACHE_DIR = str(folder or "")
    try:
        decorate = cast(Any, numba).njit(cache=folder is not None, error_model="numpy", fastmath=False, **options)
        return cast(Callable[Parameters, Result], decorate(function))
    finally:
        configuration.CACHE_DIR = previous
