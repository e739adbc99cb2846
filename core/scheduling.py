"""Work that must not be felt: batch processes that take only the processor time that nobody else wants."""

import contextlib
import os
from typing import Literal

Priority = Literal["normal", "background"]
PRIORITIES: dict[str, Priority] = {"normal": "normal", "background": "background"}


def take_priority(priority: Priority, cores: int | None = None) -> None:
    """Put this process, and every process it starts from now on, behind all others.

    ``background`` is Linux's SCHED_IDLE with the idle class of disk access: a trader on the same machine finds its
    core free at once. ``cores`` leaves the other cores alone altogether; None takes all.

    What the kernel does not know or does not allow is left as it is: a container may forbid a part of it.
    """
    if cores is not None:
        allowed = sorted(os.sched_getaffinity(0))
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, allowed[-min(cores, len(allowed)) :])
    if priority == "normal":
        return
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.nice(19)  # where SCHED_IDLE was refused
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
