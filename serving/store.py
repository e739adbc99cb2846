"""The models of this machine: verified packages and the pointer that says which one is the champion.

Layout under the root (``<state>/serving``), one folder a strategy::

    <strategy>/packages/<evidence digest>/{model.onnx,manifest.json,warmup.npz,evidence.json}
    <strategy>/pointer.json

A package lies under the digest of its evidence, which covers manifest and model: two versions of the same model with
different evidence do not overwrite each other. Only the publisher writes; replicas and traders read, and need neither
MLflow nor the database for it.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from core.digest import canonical_json
from core.errors import BadInputError, IntegrityError
from core.files import write_bytes
from serving.release.approval import Approval, Decision
from serving.release.evidence import PACKAGE_FILES, VerifiedPackage, verify_package

POINTER_FILE = "pointer.json"
_STRATEGY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which version is the champion of a strategy, and the approval it stands on."""

    strategy: str
    revision: int  # counts up with every move
    version: str  # of the registered model
    model_digest: str
    evidence_digest: str
    approval: Approval


class ModelStore:
    """Read and write the models of one machine."""

    def __init__(self, root: Path) -> None:
        """``root`` is ``<state>/serving``; it need not exist yet."""
        self.root = root

    def strategies(self) -> list[str]:
        """Return the names of all strategies that have a pointer, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{POINTER_FILE}"))

    def pointer(self, strategy: str) -> Pointer | None:
        """Return the pointer of a strategy, None when nothing was ever published.

        Raises:
            IntegrityError: the pointer is malformed or does not agree with the approval inside it.
        """
        path = self._folder(strategy) / POINTER_FILE
        try:
            pointer = msgspec.json.decode(path.read_bytes(), type=Pointer)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IntegrityError(f"serving pointer {path} is malformed: {error}; publish the version again") from None
        approval = pointer.approval
        claims = (pointer.strategy, pointer.version, pointer.model_digest, pointer.evidence_digest)
        approved = (approval.strategy, approval.version, approval.model_digest, approval.evidence_digest)
        if claims != approved or pointer.strategy != strategy or approval.decision is not Decision.APPROVED:
            raise IntegrityError(f"serving pointer {path} names {claims}, its approval {approved}; publish again")
        if approval.hash != approval.computed_hash():
            raise IntegrityError(f"serving pointer {path}: its approval was edited; publish the version again")
        return pointer

    def load(self, pointer: Pointer) -> VerifiedPackage:
        """Verify the package a pointer names and return it loaded and warm.

        Raises:
            IntegrityError: the package does not hold or is not the approved one.
        """
        package = verify_package(self.package_folder(pointer.strategy, pointer.evidence_digest))
        found = (package.manifest.strategy, package.model_digest, package.evidence_digest)
        expected = (pointer.strategy, pointer.model_digest, pointer.evidence_digest)
        if found != expected:
            raise IntegrityError(f"model package {package.folder} is {found}, the pointer names {expected}")
        return package

    def add(self, package: VerifiedPackage) -> Path:
        """Copy a verified package into the store, whole or not at all, and return its folder.

        A copy that is there already and was damaged is replaced.

        Raises:
            BadInputError: the strategy name cannot be a folder name.
        """
        target = self.package_folder(package.manifest.strategy, package.evidence_digest)
        contents = {name: (package.folder / name).read_bytes() for name in PACKAGE_FILES}
        with self._locked(package.manifest.strategy):
            if target.exists():
                if all(
                    (target / name).is_file() and (target / name).read_bytes() == contents[name] for name in contents
                ):
                    return target
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
            try:
                for name, content in contents.items():
                    write_bytes(temporary / name, content)
                temporary.chmod(0o755)
                temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return target

    def move(self, approval: Approval) -> Pointer:
        """Point the strategy of an approval at the approved version and return the pointer.

        The package must be in the store. Pointing at what is already pointed at changes nothing.
        """
        with self._locked(approval.strategy):
            standing = self.pointer(approval.strategy)
            if standing is not None and standing.approval == approval:
                return standing
            pointer = Pointer(
                strategy=approval.strategy,
                revision=standing.revision + 1 if standing else 1,
                version=approval.version,
                model_digest=approval.model_digest,
                evidence_digest=approval.evidence_digest,
                approval=approval,
            )
            path = self._folder(approval.strategy) / POINTER_FILE
            write_bytes(path, canonical_json(msgspec.to_builtins(pointer)))
            return pointer

    def package_folder(self, strategy: str, evidence_digest: str) -> Path:
        """Return where the package with this evidence lies or would lie."""
        return self._folder(strategy) / "packages" / evidence_digest

    def _folder(self, strategy: str) -> Path:
        # A strategy name arrives over the network too: it must never leave the root.
        if not _STRATEGY_NAME.fullmatch(strategy):
            raise BadInputError(f"strategy {strategy!r}: use letters, digits, dot, dash and underscore")
        return self.root / strategy

    @contextmanager
    def _locked(self, strategy: str) -> Generator[None]:
        folder = self._folder(strategy)
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
