"""Memory that was freed and not given back."""

import ctypes


def give_back() -> None:
    """Let the C library return freed memory to the system; nothing where it has no such call.

    Arrays of some megabytes that come and go between two fits stay with the process otherwise, in pieces too small for
    the next matrix: a third of a matrix of a million rows.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
