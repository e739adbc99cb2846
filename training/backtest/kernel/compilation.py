"""How the backtester's kernel is compiled: its machine code is kept by the digest of kernel and rules together."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.compilation import compile_into, machine_code_folder
from core.digest import digest_files, digest_value
from trading.strategy.rules.compilation import rules_digest

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

HERE = Path(__file__).parent
Array = NDArray[Any]  # how kernel functions name their arrays to the type checker; numba infers its own types


@lru_cache(maxsize=1)
def backtest_digest() -> str:
    """Return the SHA-256 over the source of kernel and rules: the code digest of a backtest."""
    return digest_value([digest_files(HERE, sorted(HERE.glob("*.py"))), rules_digest()])


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    return machine_code_folder("backtest", backtest_digest(), HERE)


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function that is called by compiled ones only: its machine code is kept with that of the entry."""
    return compile_into(None, function, inner=True)


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function into its callers, which are compiled ones only."""
    return compile_into(None, function, inline=True, inner=True)


def entry(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function that Python calls, with all it calls; it lets other threads run."""
    return compile_into(_folder(), function, nogil=True)


@inlined
def whole(value: int) -> int:
    """Return an int64 that is no constant to the compiler: it would compile a callee anew for each constant."""
    return np.int64(value)  # pyright: ignore[reportReturnType] - what numba calls its int
