"""The platform's signature under approvals: Ed25519, one private key of 0600, every public key it ever had.

``<folder>/approvals.key`` signs. Each ``<folder>/*.pub`` verifies: after a change of the key the old public one stays,
and the records it signed still hold. A process that only verifies needs no private key.
"""

import base64
import os
import stat
import tempfile
from pathlib import Path

from core.digest import digest_bytes
from core.errors import ConfigurationError, IntegrityError
from core.files import write_bytes
from core.settings import Settings, get_settings

PRIVATE_FILE = "approvals.key"
_CONTEXT = b"tidegate approval record v1\n"  # a signature of this key under anything else is none of ours


class ApprovalKeys:
    """The keys in a folder, ``<state>/keys`` of a platform. The private one is made when it is first needed."""

    def __init__(self, folder: Path, private_file: Path | None = None) -> None:
        self.folder = folder
        self.private_file = private_file or folder / PRIVATE_FILE

    @classmethod
    def of(cls, settings: Settings | None = None) -> "ApprovalKeys":
        """The keys of a platform's state directory, or the private key that the settings name."""
        chosen = settings or get_settings()
        return cls(chosen.state / "keys", chosen.approval.key_file)

    def sign(self, digest: str) -> tuple[str, str]:
        """Sign the hash of a record; return the key's id and the signature in base64.

        Raises:
            ConfigurationError: the private key can be read by others, or is none.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(self._private_bytes())
        public = private.public_key().public_bytes_raw()
        identity = _identity(public)
        known = self.folder / f"approvals-{identity}.pub"
        if not known.exists():
            write_bytes(known, base64.b64encode(public) + b"\n")
        return identity, base64.b64encode(private.sign(_CONTEXT + digest.encode())).decode()

    def check(self, identity: str, signature: str, digest: str) -> None:
        """Check a signature under the hash of a record.

        Raises:
            IntegrityError: the key is not one of this platform, or the signature is not of this hash.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        public = self._public(identity)
        if public is None:
            raise IntegrityError(f"the key {identity} that signed it is not one of {self.folder}")
        try:
            decoded = base64.b64decode(signature, validate=True)
            if base64.b64encode(decoded).decode() != signature:  # two texts may stand for the same bytes
                raise InvalidSignature
            Ed25519PublicKey.from_public_bytes(public).verify(decoded, _CONTEXT + digest.encode())
        except (InvalidSignature, ValueError):
            raise IntegrityError(f"its signature is not that of key {identity} under its hash") from None

    def _public(self, identity: str) -> bytes | None:
        """Return the public key with an id. A file that holds another key than its name says is not believed."""
        path = self.folder / f"approvals-{Path(identity).name}.pub"
        try:
            public = base64.b64decode(path.read_bytes().strip(), validate=True)
        except (OSError, ValueError):
            return None
        return public if _identity(public) == identity else None

    def _private_bytes(self) -> bytes:
        if not self.private_file.exists():
            if self.private_file.parent != self.folder:
                raise ConfigurationError(f"the approval key {self.private_file} that the settings name is not there")
            _make_secret(self.private_file, base64.b64encode(os.urandom(32)) + b"\n")
        check_private(self.private_file)
        try:
            secret = base64.b64decode(self.private_file.read_bytes().strip(), validate=True)
        except ValueError:
            secret = b""
        if len(secret) != 32:
            raise ConfigurationError(f"{self.private_file} holds no Ed25519 key: 32 bytes in base64 are expected")
        return secret


def check_private(path: Path) -> None:
    """Make sure that nobody else can read a secret.

    Raises:
        ConfigurationError: others can.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(f"{path} can be read by others than its owner: chmod 600 it, and replace the secret")


def secret_file(path: Path, content: bytes) -> bytes:
    """Return the secret in a file, made of ``content`` when there is none yet; 0600, whoever comes first wins.

    Raises:
        ConfigurationError: others can read it.
    """
    if not path.exists():
        _make_secret(path, content + b"\n")
    check_private(path)
    return path.read_bytes().strip()


def _make_secret(path: Path, content: bytes) -> None:
    """Write a secret that was never readable by others; of several processes at once one makes it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            return
    finally:
        Path(name).unlink(missing_ok=True)


def _identity(public: bytes) -> str:
    return digest_bytes(public)[:16]
