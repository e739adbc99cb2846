"""Find and open the files of a source; turn what goes wrong into one clear line."""

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from core.domain import normalise_name
from core.errors import BadInputError

# ISO 4217 codes that are quoted against each other, and the metals of the broker: a file name such as `bid_ask` is no
# pair.
_CODES = (
    "AED ARS AUD BGN BRL CAD CHF CLP CNH CNY COP CYP CZK DKK EEK EGP EUR GBP HKD HRK HUF IDR ILS INR ISK JPY KRW LTL "
    "LVL MTL MXN MYR NOK NZD PEN PHP PLN QAR ROL RON RUB SAR SEK SGD SIT SKK THB TRL TRY TWD UAH USD VND XAG XAU XPD "
    "XPT ZAR"
)
CURRENCIES = frozenset(_CODES.split())
_SIX_LETTERS = re.compile(r"(?<![A-Za-z])([A-Za-z]{3})[_/-]?([A-Za-z]{3})(?![A-Za-z])")
_LEADING_PAIR = re.compile(r"^([A-Za-z]{6})(?=h\d|m\d|d\d|$)", re.IGNORECASE)


def require_path(path: Path | None, source: str) -> Path:
    """Return an existing file or folder.

    Raises:
        BadInputError: none was given or it does not exist.
    """
    if path is None:
        raise BadInputError(f"source {source} needs a path: set data.path to a file or folder")
    if not path.exists():
        raise BadInputError(f"{path} not found: set data.path to an existing file or folder")
    return path


def list_files(path: Path, suffixes: Sequence[str], source: str) -> list[Path]:
    """Return the file itself, or the files with one of some suffixes below a folder, sorted by path.

    Raises:
        BadInputError: a folder holds no such file.
    """
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    if not found:
        raise BadInputError(f"{path} holds no {' or '.join(suffixes)} file for source {source}")
    return found


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        BadInputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from None


def read_zip_member(path: Path, suffix: str = ".csv") -> tuple[str, bytes]:
    """Return name and content of the one file with a suffix inside a zip.

    Raises:
        BadInputError: the file is no zip, is damaged, or does not hold exactly one such file.
    """
    content = read_bytes(path)
    if not content:
        raise BadInputError(f"{path} is empty: expected a zip with one {suffix} file")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [name for name in archive.namelist() if name.lower().endswith(suffix)]
            if len(members) != 1:
                raise BadInputError(f"{path} holds {len(members)} {suffix} files, expected one")
            return members[0], archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInputError(f"{path} is not a whole zip file: {error}; fetch it again") from None


def pair_in(text: str) -> str | None:
    """Return the currency pair written in a file name such as ``DAT_ASCII_EURUSD_M1_201701``, or None."""
    for pattern in (_LEADING_PAIR, _SIX_LETTERS):
        for match in pattern.finditer(text):
            letters = "".join(character for character in match.group(0) if character.isalpha()).upper()
            if letters[:3] in CURRENCIES and letters[3:] in CURRENCIES:
                return normalise_name(letters)
    return None


def require_found(found: Iterable[str], instruments: Sequence[str], path: Path, source: str) -> None:
    """Refuse when an instrument that was asked for is in no file.

    Raises:
        BadInputError: names what is missing and what there is.
    """
    available = sorted(set(found))
    missing = [name for name in instruments if name not in available]
    if missing:
        offer = ", ".join(available) if available else "none"
        raise BadInputError(f"{path} has no {source} data of {', '.join(missing)}; it holds {offer}")
