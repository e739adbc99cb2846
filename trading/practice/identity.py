"""Who this broker's one client is: account id and token, from the settings or invented once."""

import os
import secrets
from pathlib import Path

import msgspec
import orjson

from core.errors import IntegrityError
from core.settings import OandaSettings


class Identity(msgspec.Struct, frozen=True):
    """Account id, token, and when a simulation began (0: not yet)."""

    account_id: str
    token: str
    start_ns: int = 0


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
        stream.write(content)
    temporary.replace(path)


def load_identity(settings: OandaSettings, folder: Path | None) -> Identity:
    """Return the identity: settings first, then what the state folder remembers, then random values.

    Raises:
        IntegrityError: the remembered file is damaged.
    """
    remembered: Identity | None = None
    if folder is not None and (folder / "identity.json").exists():
        try:
            remembered = msgspec.json.decode((folder / "identity.json").read_bytes(), type=Identity)
        except msgspec.DecodeError:
            raise IntegrityError(f"{folder / 'identity.json'} is damaged; start with a fresh state folder") from None
    account_id = settings.account_id.get_secret_value() if settings.account_id else None
    token = settings.token.get_secret_value() if settings.token else None
    return Identity(
        account_id
        or (remembered.account_id if remembered else f"101-001-{secrets.randbelow(9_000_000) + 1_000_000}-001"),
        token or (remembered.token if remembered else secrets.token_hex(32)),
        remembered.start_ns if remembered else 0,
    )


def remember_identity(identity: Identity, folder: Path | None) -> None:
    """Keep the identity for the next start."""
    if folder is not None:
        write_private(folder / "identity.json", orjson.dumps(msgspec.to_builtins(identity)))
