"""The models of this machine: verified packages and the policy that says which of them answers what.

Layout under the root (``<state>/serving``), one folder a strategy::

    <strategy>/packages/<evidence digest>/{model.onnx,manifest.json,warmup.npz,evidence.json}
    <strategy>/pointer.json               the policy in force
    <strategy>/policies/<revision>.json   every policy that ever was

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
from core.errors import BadInputError, IntegrityError, RefusedError
from core.files import write_bytes
from serving.release.approval import Approval
from serving.release.bars import refuse_barred
from serving.release.evidence import PACKAGE_FILES, Evidence, Manifest, VerifiedPackage, verify_package
from serving.traffic.pointer import Pointer, Standing, check_roles
from serving.traffic.policy import CHAMPION_ONLY, Arm, Traffic

__all__ = ["POINTER_FILE", "ModelStore", "Pointer", "Standing"]

POINTER_FILE = "pointer.json"
_STRATEGY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


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
        return _read(self._folder(strategy) / POINTER_FILE, strategy)

    def policy_at(self, strategy: str, revision: int) -> Pointer | None:
        """Return the policy of a revision, None when there was none.

        Raises:
            IntegrityError: its file is malformed or does not agree with the approvals inside it.
        """
        present = self.pointer(strategy)
        if present is None or not 1 <= revision <= present.revision:
            return None  # a revision above is one whose writer was killed: it was never in force
        return present if revision == present.revision else _read(self._policy_path(strategy, revision), strategy)

    def policies(self, strategy: str) -> Generator[Pointer]:
        """Yield the policies of a strategy that can be read, newest first, beginning with the one in force.

        Raises:
            IntegrityError: a file is malformed or does not agree with the approvals inside it.
        """
        present = self.pointer(strategy)
        for revision in range(present.revision if present else 0, 0, -1):
            policy = self.policy_at(strategy, revision)
            if policy is not None:  # policies from before revisions were kept are gone
                yield policy

    def load(self, pointer: Pointer, arm: Arm = Arm.CHAMPION) -> VerifiedPackage:
        """Verify the package of a policy's champion or challenger and return it loaded and warm.

        Raises:
            IntegrityError: the package does not hold or is not the approved one.
            RefusedError: the policy names no such version.
        """
        standing = next(iter(pointer.standing(arm)), None)
        if standing is None:
            raise RefusedError(f"policy {pointer.revision} of strategy {pointer.strategy} has no {arm}")
        package = verify_package(self.package_folder(pointer.strategy, standing.evidence_digest))
        found = (package.manifest.strategy, package.model_digest, package.evidence_digest)
        expected = (pointer.strategy, standing.model_digest, standing.evidence_digest)
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
        """Make the approved version the champion that answers everything, and return the policy.

        What is so already stays as it is.

        Raises:
            RefusedError: as ``set_policy``.
        """
        return self.set_policy(approval.strategy, champion=approval)

    def set_policy(
        self,
        strategy: str,
        *,
        champion: Approval | None,
        challenger: Approval | None = None,
        traffic: Traffic = CHAMPION_ONLY,
        flat: str = "",
        expected_revision: int | None = None,
    ) -> Pointer:
        """Replace the policy of a strategy, whole and durably, and return it; replicas and traders follow.

        A policy that is in force already stays, with its revision: a caller that was killed may simply ask again.

        Args:
            strategy: its name.
            champion: the approval of the version that answers; None only with ``flat``.
            challenger: the approval of the second version.
            traffic: how decisions are given to the two.
            flat: why nobody answers from now on; empty: somebody does.
            expected_revision: the revision this change was decided on, 0 for none yet; None: whatever is there.

        Raises:
            RefusedError: the parts do not fit each other, an approval is none for this strategy, was edited or is
                barred, a package is not in the store or was made for other features, or the policy has changed.
            IntegrityError: the policy in force is damaged and ``expected_revision`` was given.
        """
        with self._locked(strategy):
            refuse_barred(self._folder(strategy), champion, challenger)
            first = None if champion is None else self._role(strategy, champion)
            second = None if challenger is None else self._role(strategy, challenger)
            if first is None and not flat:
                raise RefusedError(f"strategy {strategy}: a policy without a champion must say why nobody answers")
            check_roles(first and first[0], second and second[0], traffic)
            if first and second and first[1].feature_digest != second[1].feature_digest:
                raise RefusedError(
                    f"strategy {strategy}: version {second[0].version} was made for features "
                    f"{second[1].feature_digest[:12]}, the champion {first[0].version} for "
                    f"{first[1].feature_digest[:12]}: they cannot be asked with one request"
                )
            try:
                present = self.pointer(strategy)
            except IntegrityError:
                if expected_revision is not None:
                    raise
                present = None  # a damaged policy is repaired by the next one
            policy = Pointer(
                strategy=strategy,
                revision=present.revision if present else 0,
                version=champion.version if champion else "",
                model_digest=champion.model_digest if champion else "",
                evidence_digest=champion.evidence_digest if champion else "",
                approval=champion,
                model_name=first[1].name if first else "",
                challenger=second[0] if second else None,
                traffic=traffic,
                flat=flat,
            )
            if present is not None and policy == present:
                return present
            if expected_revision is not None and expected_revision != policy.revision:
                raise RefusedError(
                    f"the policy of strategy {strategy} is at revision {policy.revision}, this change was decided on "
                    f"revision {expected_revision}: look at it again"
                )
            return self._write(policy, present)

    def _write(self, policy: Pointer, present: Pointer | None) -> Pointer:
        """Write the next policy: first into the history, then in force."""
        if present is not None and not self._policy_path(present.strategy, present.revision).exists():
            write_bytes(self._policy_path(present.strategy, present.revision), _content(present))
        revision = present.revision if present else self._last_revision(policy.strategy)
        policy = msgspec.structs.replace(policy, revision=revision + 1)
        write_bytes(self._policy_path(policy.strategy, policy.revision), _content(policy))
        write_bytes(self._folder(policy.strategy) / POINTER_FILE, _content(policy))
        return policy

    def _last_revision(self, strategy: str) -> int:
        """The newest revision in the history: no number is used twice, also where the policy is damaged."""
        numbers = [int(path.stem) for path in self._folder(strategy).glob("policies/*.json") if path.stem.isdigit()]
        return max(numbers, default=0)

    def _role(self, strategy: str, approval: Approval) -> tuple[Standing, Manifest]:
        """Return an approved version as a standing, if the approval is one and its package is here.

        The model itself is verified by whoever loads it: this must be quick enough for a rollback.
        """
        where = f"the policy of strategy {strategy}"
        folder = self.package_folder(strategy, approval.evidence_digest)
        missing = [name for name in PACKAGE_FILES if not (folder / name).is_file()]
        if missing:
            raise RefusedError(
                f"{where}: version {approval.version} with evidence {approval.evidence_digest[:12]} is not in the "
                f"store of this machine ({missing[0]} is missing): publish it first"
            )
        try:
            manifest, evidence = Manifest.load(folder), Evidence.load(folder)
            standing = Standing.of(approval, manifest.name)
            standing.check(strategy, where)
        except IntegrityError as error:
            raise RefusedError(error.message) from None
        found = (evidence.digest, evidence.model_digest, evidence.manifest_digest, manifest.strategy)
        expected = (approval.evidence_digest, approval.model_digest, manifest.digest, strategy)
        if found != expected:
            raise RefusedError(
                f"{where}: the package of version {approval.version} is {found}, expected {expected}; publish it again"
            )
        return standing, manifest

    def package_folder(self, strategy: str, evidence_digest: str) -> Path:
        """Return where the package with this evidence lies or would lie."""
        return self._folder(strategy) / "packages" / evidence_digest

    def _policy_path(self, strategy: str, revision: int) -> Path:
        return self._folder(strategy) / "policies" / f"{revision}.json"

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


def _read(path: Path, strategy: str) -> Pointer | None:
    """Return a checked policy, None when there is no such file."""
    try:
        policy = msgspec.json.decode(path.read_bytes(), type=Pointer)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"serving pointer {path} is malformed: {error}; publish the version again") from None
    policy.check(strategy, f"serving pointer {path}")
    return policy


def _content(policy: Pointer) -> bytes:
    return canonical_json(msgspec.to_builtins(policy))
