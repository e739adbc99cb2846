"""How the backtester's kernel is compiled: its machine code is kept by the digest of kernel and rules together."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

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
    """Compile a function of the kernel."""
    return compile_into(_folder(), function)


def compiled_without_lock(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function that lets other threads run: the entry, so that parameter sets spread over cores."""
    return compile_into(_folder(), function, nogil=True)


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function into its callers."""
    return compile_into(_folder(), function, inline=True)
