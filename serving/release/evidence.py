"""The model package: what training hands over, and the proof that it is whole.

A package is a folder of four files: ``model.onnx``, ``manifest.json``, ``warmup.npz`` and ``evidence.json``. The
digest of a JSON file is the SHA-256 of its bytes; both are written in canonical form (sorted keys, no spaces), so the
digest of the value and of the file are the same. The chain is: the approval names the evidence and the model, the
evidence names the manifest and the model, the manifest names the model.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from core.digest import canonical_json, digest_file, digest_value
from core.errors import BadInputError, IntegrityError
from core.files import write_bytes

if TYPE_CHECKING:
    from serving.session import ModelSession

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
WARMUP_FILE = "warmup.npz"
EVIDENCE_FILE = "evidence.json"
PACKAGE_FILES: tuple[str, ...] = (MODEL_FILE, MANIFEST_FILE, WARMUP_FILE, EVIDENCE_FILE)

Document = TypeVar("Document", bound=msgspec.Struct)


def _load(kind: type[Document], path: Path) -> Document:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise IntegrityError(f"model package {path.parent}: {path.name} is missing; build the package again") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"model package {path.parent}: {path.name} is malformed: {error}") from None


def _save(document: msgspec.Struct, path: Path) -> str:
    value = msgspec.to_builtins(document)
    try:
        content = canonical_json(value)
    except ValueError as error:
        raise BadInputError(f"{path.name} cannot be written: {error}; write null for a missing number") from None
    write_bytes(path, content)
    return digest_value(value)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model is: its inputs, its outputs, how it was made."""

    name: str  # of the model, such as xgboost
    kind: str  # xgboost, random_forest, lstm, gru, transformer or blend
    market: str
    strategy: str
    feature_set: str
    feature_digest: str  # digest of the feature set definition
    features: tuple[str, ...]  # F names in input order
    lookback: int  # L, rows of one window; 1 for tabular models
    classes: tuple[str, ...]  # core.domain.CLASSES
    model_digest: str  # SHA-256 of model.onnx
    train_start_ns: int
    train_end_ns: int
    horizon: int  # steps
    seed: int
    parameters: dict[str, Any]

    @property
    def digest(self) -> str:
        """The digest of ``manifest.json``."""
        return digest_value(msgspec.to_builtins(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``manifest.json`` of a package.

        Raises:
            IntegrityError: the file is missing or malformed.
        """
        return _load(cls, folder / MANIFEST_FILE)

    def save(self, folder: Path) -> str:
        """Write ``manifest.json`` into a package and return its digest."""
        return _save(self, folder / MANIFEST_FILE)


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule of the gate and how the model fared; ``words`` says it in a sentence for the reviewer."""

    rule: str
    passed: bool
    value: float | None
    limit: float | None
    words: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gate's answer: passed exactly when there are rules and every one passed."""

    passed: bool
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, *rules: Rule) -> Self:
        """Judge by the given rules."""
        return cls(passed=bool(rules) and all(rule.passed for rule in rules), rules=rules)


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why a model may (or may not) be let through, and from what it was made.

    What is left at its default is not written, so that the digest of a document stays what it was when fields are
    added.
    """

    model_digest: str
    manifest_digest: str
    data_digest: str
    feature_digest: str
    code_digests: dict[str, str]  # room to digest
    environment_digest: str
    git_commit: str
    out_of_sample: dict[str, Any]
    verdict: Verdict
    bundle_digest: str | None = None  # of ``bundle.json``, the evidence in full; None: made before there was one
    page_digest: str | None = None  # of ``bundle.html``, what a reviewer reads; None: made before it was named

    @property
    def digest(self) -> str:
        """The digest of ``evidence.json``: what an approval names."""
        return digest_value(msgspec.to_builtins(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``evidence.json`` of a package.

        Raises:
            IntegrityError: the file is missing or malformed.
        """
        return _load(cls, folder / EVIDENCE_FILE)

    def save(self, folder: Path) -> str:
        """Write ``evidence.json`` into a package and return its digest."""
        return _save(self, folder / EVIDENCE_FILE)


def check_documents(folder: Path) -> tuple[Manifest, Evidence]:
    """Check that the documents of a package refer to each other and to the model file; return them.

    Raises:
        IntegrityError: a file is missing or malformed, or a digest does not hold; the message gives both values.
    """

    def expect(what: str, found: str, expected: str) -> None:
        if found != expected:
            raise IntegrityError(f"model package {folder}: {what} is {found}, expected {expected}; do not serve it")

    for name in PACKAGE_FILES:
        if not (folder / name).is_file():
            raise IntegrityError(f"model package {folder}: {name} is missing; build the package again")
    manifest, evidence = Manifest.load(folder), Evidence.load(folder)
    model_digest = digest_file(folder / MODEL_FILE)
    expect("the digest of model.onnx", model_digest, manifest.model_digest)
    expect("evidence.model_digest", evidence.model_digest, model_digest)
    expect("evidence.manifest_digest", evidence.manifest_digest, digest_file(folder / MANIFEST_FILE))
    expect("evidence.feature_digest", evidence.feature_digest, manifest.feature_digest)
    expect("the digest of evidence.json", digest_file(folder / EVIDENCE_FILE), evidence.digest)
    judged = Verdict.of(*evidence.verdict.rules)
    expect("evidence.verdict.passed", str(evidence.verdict.passed), str(judged.passed))
    return manifest, evidence


@dataclass(frozen=True)
class VerifiedPackage:
    """A package whose every claim was checked, with its model loaded and warm. Only ``verify_package`` makes one."""

    folder: Path
    manifest: Manifest
    evidence: Evidence
    session: "ModelSession"

    @property
    def model_digest(self) -> str:
        """SHA-256 of ``model.onnx``."""
        return self.manifest.model_digest

    @property
    def evidence_digest(self) -> str:
        """SHA-256 of ``evidence.json``."""
        return self.evidence.digest


def verify_package(folder: Path) -> VerifiedPackage:
    """Check a model package and return it loaded and warm.

    Recomputes the digests of model, manifest and evidence and checks that they refer to each other; opens the model,
    checks its input and output signature, and that it answers ``warmup.npz`` within 1e-5.

    Raises:
        IntegrityError: anything does not hold; the message gives what was found and what was expected.
    """
    from serving.session import ModelSession  # onnxruntime is not for those who only fill the documents

    manifest, evidence = check_documents(folder)
    return VerifiedPackage(folder, manifest, evidence, ModelSession(folder, manifest))
