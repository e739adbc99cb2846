"""How the functions of rules are compiled, and the digest of their source."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from core.compilation import compile_into, machine_code_folder
from core.digest import digest_files

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

HERE = Path(__file__).parent


class Floats(Protocol):
    """A float64 array of one dimension, or a bare pointer to one, as rules name it to the type checker."""

    def __getitem__(self, position: int, /) -> float: ...

    def __setitem__(self, position: int, value: float, /) -> None: ...

    def __len__(self) -> int: ...


@lru_cache(maxsize=1)
def rules_digest() -> str:
    """Return the SHA-256 over every source file of this package: what a rule's decisions come from."""
    return digest_files(HERE, sorted(HERE.glob("*.py")))


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    return machine_code_folder("rules", rules_digest(), HERE)


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function of a rule: no fast-math, no contraction, division by zero as IEEE 754 has it."""
    return compile_into(_folder(), function)


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function into its callers: a rule is called at every bar, and a call would take as long as it does."""
    return compile_into(_folder(), function, inline=True)
