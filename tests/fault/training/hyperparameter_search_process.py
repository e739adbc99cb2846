"""A search that is killed: it says on stdout who it is and how far it is, one line a moment.

Usage: ``python hyperparameter_search_process.py WORKSPACE STUDY TRIALS WORKERS``, the database in the settings.
"""

import sys
from pathlib import Path

from training.search.hyperparameters.progress import SearchProgress
from training.search.hyperparameters.search import prepare, search


def main() -> None:
    workspace, study, trials, workers = sys.argv[1:]
    prepared = prepare(Path(workspace), study, trials=int(trials), workers=int(workers))

    def follow(progress: SearchProgress) -> None:
        print(f"ended {progress.ended} running {progress.running} retried {progress.retried}", flush=True)

    searched = search(prepared, follow)
    print(f"done {len(searched.slots)}", flush=True)


if __name__ == "__main__":
    main()
