"""Everything a search needs to go on: one record, written whole after each generation.

Random numbers are not in it: they follow from the seed and the generation (see ``population.seeded``). A process that
is killed between two generations goes on with the next; one that is killed inside a generation computes that
generation again and gets the same.
"""

from pathlib import Path

import msgspec

from core.digest import digest_bytes
from core.errors import IntegrityError
from core.files import write_bytes
from training.search.strategy.space import Values

FORMAT = 1
CHECKPOINT = "checkpoint.msgpack"
_DIGEST_BYTES = 64


class Assessment(msgspec.Struct, frozen=True):
    """What one backtest said about one parameter set.

    Attributes:
        trial: its row in the trial ledger.
        train: figures of the training window of every fold, the final one last; [F][M] as ``objectives.NAMES``.
        test: figures of the test windows of the folds before the final one; [F - 1][M]. No search reads them.
        shortfall: per training window, by how much it misses the limits (too few trades, ruin); 0: inside them.
    """

    trial: str
    train: tuple[tuple[float, ...], ...]
    test: tuple[tuple[float, ...], ...]
    shortfall: tuple[float, ...]


class Generation(msgspec.Struct, frozen=True):
    """What a generation came to, for the plots and the progress line."""

    number: int
    new: int  # parameter sets backtested for the first time
    trials: int  # so far
    hypervolume: tuple[float, ...]  # per fold
    best: tuple[float, ...]  # per fold: the choice metric of the one it would choose
    islands: tuple[float, ...]  # per island, folds one after the other: the best choice metric in its population
    inside: float  # share of the new ones inside the limits of their own fold
    mutation: float  # probability of a parameter to mutate
    migrated: bool


class State(msgspec.Struct):
    """A search between two generations. Candidates are positions in ``values``; islands are fold by fold."""

    digest: str  # of what decides the path of the search: parameters, data, code, seed
    generation: int  # the next one
    values: list[Values]
    assessments: list[Assessment]
    islands: list[list[int]]  # populations
    tried: list[list[int]]  # per island: all it ever held, in order
    fronts: list[list[int]]  # per fold: the non-dominated ones of its islands
    reference: list[list[float]]  # per fold: reference point of the hypervolume; empty until somebody is inside
    mark: list[float]  # hypervolumes at the last gain
    idle: int  # generations since the last gain
    history: list[Generation]
    seconds: float  # spent so far, over all processes
    stopped: str  # why the search ended; empty while it goes on

    @property
    def trials(self) -> int:
        """Backtests so far."""
        return len(self.assessments)


def begin(digest: str, folds: int, islands: int) -> State:
    """Return the state of a search that has not begun."""
    places = folds * islands
    return State(
        digest,
        0,
        [],
        [],
        [[] for _ in range(places)],
        [[] for _ in range(places)],
        [[] for _ in range(folds)],
        [[] for _ in range(folds)],
        [0.0] * folds,
        0,
        [],
        0.0,
        "",
    )


def save(folder: Path, state: State) -> None:
    """Write the checkpoint, whole or not at all; exact to the bit."""
    content = msgspec.msgpack.encode((FORMAT, state))
    write_bytes(folder / CHECKPOINT, digest_bytes(content).encode() + content)


def load(folder: Path, digest: str) -> State | None:
    """Read the checkpoint of a search; None where there is none.

    Raises:
        IntegrityError: it is damaged, or belongs to another search.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    content = path.read_bytes()
    said, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if said.decode(errors="replace") != digest_bytes(body):
        raise IntegrityError(f"{path} is damaged: remove it, and the search begins again from the trial ledger")
    number, state = msgspec.msgpack.decode(body, type=tuple[int, State])
    if number != FORMAT or state.digest != digest:
        raise IntegrityError(f"{path} belongs to another search: remove its folder, or give the search another one")
    return state


def result_digest(state: State) -> str:
    """Return one SHA-256 over what the search found: equal runs have equal digests, however often they were killed.

    The time spent and the identities of ledger rows are left out: they differ between equal runs.
    """
    pairs = zip(state.values, state.assessments, strict=True)
    found = [(values, item.train, item.test, item.shortfall) for values, item in pairs]
    return digest_bytes(
        msgspec.msgpack.encode((found, state.islands, state.fronts, state.history, state.generation, state.stopped))
    )
