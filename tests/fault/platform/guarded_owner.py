"""Run as a process of its own: owns a guarded command that leaves daemons and deaf children behind, then waits."""

import sys
import time
from pathlib import Path

from core.embedded.guarded import GuardedProcess

CHILD = """
import os, signal, subprocess, sys, time
DEAF = "import signal, time\\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntime.sleep(600)"
# A child in a session of its own, as daemons make; one that ignores SIGTERM; one whose parent is gone at once.
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
subprocess.Popen([sys.executable, "-c", DEAF])
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    while True:
        time.sleep(1)
print("up", flush=True)
time.sleep(600)
"""

if __name__ == "__main__":
    log = Path(sys.argv[1])
    process = GuardedProcess([sys.executable, "-c", CHILD], log_file=log, grace_seconds=0.5).start()
    sys.stdout.write(f"{process.guardian_pid} {process.token}\n")
    sys.stdout.flush()
    time.sleep(600)
