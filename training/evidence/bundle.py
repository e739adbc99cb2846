"""The evidence bundle: everything that is known about one candidate when it is judged, as one document.

``bundle.json`` holds what a rerun of the same stages gives again, so that its digest can be named by ``evidence.json``.
What depends on the moment (the time a prediction takes on this machine, the head of the ledger's chain) lies beside it.
"""

from pathlib import Path
from typing import Any

import msgspec

from core.digest import canonical_json, digest_value
from core.errors import BadInputError
from core.files import write_bytes
from serving.release.attached import BUNDLE_FILE
from training.evidence.calibration import CalibrationEvidence
from training.evidence.champion import Comparison
from training.evidence.drift import Drift
from training.evidence.paths import EquityPath
from training.evidence.record import LedgerRecord
from training.evidence.robustness import Capacity, Regime, Stress
from training.evidence.search import SearchEvidence
from training.evidence.sources import Sources
from training.leaks import LeakReport

LEDGER_FILE = "ledger.json"


class FoldPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One fold of the validation: what it learnt from and what it was tested on."""

    number: int
    train_rows: int
    train_start_ns: int
    train_end_ns: int  # latest label end of a training row
    test_rows: int
    test_start_ns: int
    test_end_ns: int


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The exported model."""

    parity: float
    megabytes: float
    lookback: int
    features: int


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The evidence about one candidate. A section is None where it could not be made; ``notes`` say why."""

    format: int = 2
    market: str
    candidate: str
    seed: int
    cutoff_ns: int
    steps_per_year: float
    sources: Sources | None
    folds: tuple[FoldPlan, ...]
    reference: str
    result: dict[str, Any]  # the candidate's entry of the evaluation
    baselines: dict[str, dict[str, Any]]
    record: LedgerRecord | None
    search: SearchEvidence | None
    stress: tuple[Stress, ...]
    capacity: Capacity
    regimes: tuple[Regime, ...]
    drift: Drift
    leaks: LeakReport | None
    champion: Comparison | None
    model: ModelFacts | None
    notes: tuple[str, ...]
    # Since format 2; empty where a bundle is older.
    calibration: CalibrationEvidence | None = None
    paths: tuple[EquityPath, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of ``bundle.json`` as ``save`` writes it.

        Of a bundle that was read, the digest of the file's bytes is what the evidence names.
        """
        return digest_value(msgspec.to_builtins(self))

    def save(self, folder: Path) -> str:
        """Write ``bundle.json`` and return its digest."""
        write_bytes(folder / BUNDLE_FILE, canonical_json(msgspec.to_builtins(self)))
        return self.digest

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Read a bundle.

        Raises:
            BadInputError: the file is missing or malformed.
        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise BadInputError(f"{path} is missing: run the evaluate stage first") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadInputError(f"{path} is malformed ({error}): run the evaluate stage again") from None
