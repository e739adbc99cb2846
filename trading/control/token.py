"""The token that turns the kill switch over HTTP: from the settings, else one made for the state directory."""

import contextlib
import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from core.errors import UnavailableError


def control_token(state: Path, configured: SecretStr | None) -> SecretStr:
    """Return the configured token, else that of ``<state>/control/token``, made on first use, readable by its owner.

    Raises:
        UnavailableError: the file cannot be read or made.
    """
    if configured is not None and configured.get_secret_value().strip():
        return configured
    path = state / "control" / "token"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(path)
        return SecretStr(path.read_text().strip())
    except OSError as error:
        raise UnavailableError(
            f"control token {path} cannot be used: {error.strerror}; see its folder's rights"
        ) from error


def _make(path: Path) -> None:
    """Write under another name, then link: of two traders starting at once both use the first one's, whole."""
    draft = path.with_name(f".token-{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, secrets.token_urlsafe(32).encode())
        os.fsync(handle)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.close(handle)
        draft.unlink(missing_ok=True)
