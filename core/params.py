"""``params.yaml``: the ML parameters, tracked by DVC. One reader, so that a missing key gets one clear message."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import yaml

from core.errors import BadInputError

_Section = TypeVar("_Section", bound=msgspec.Struct)


def read_params(path: Path = Path("params.yaml")) -> dict[str, Any]:
    """Read a parameter file.

    Raises:
        BadInputError: the file is missing, cannot be read or is not a YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BadInputError(f"{path} not found: run from a folder that has a params.yaml") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{path} holds no mapping")
    return cast(dict[str, Any], content)


def required(content: Mapping[str, Any], key: str, path: Path = Path("params.yaml")) -> Any:
    """Return a top-level value of a parameter file.

    Raises:
        BadInputError: the file, read from ``path``, has no such key.
    """
    if content.get(key) is None:
        raise BadInputError(f"{path} has no value for {key}: add it, as in the params.yaml of the repository")
    return content[key]


def section(
    params: Mapping[str, Any],
    name: str,
    kind: type[_Section],
    others: Collection[str] = (),
    more: Mapping[str, Any] | None = None,
) -> _Section:
    """Build the parameters of one section; what it leaves out keeps its default.

    Args:
        params: the content of a ``params.yaml``.
        name: of the section.
        kind: what it becomes; its fields are the keys.
        others: keys of the section that somebody else reads.
        more: values from elsewhere.

    Raises:
        BadInputError: the section is no mapping, has an unknown key, or a value is of the wrong type.
    """
    content = params.get(name) or {}
    if not isinstance(content, Mapping):
        raise BadInputError(f"{name} parameters: a mapping of names and values is needed, not {content!r}")
    given = cast(Mapping[Any, Any], content)
    known = set(kind.__struct_fields__)
    unknown = sorted(map(str, set(given) - known - set(others)))
    if unknown:
        raise BadInputError(
            f"{name} parameters: there is no {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    values = {key: value for key, value in given.items() if key in known}
    try:
        return msgspec.convert({**values, **(more or {})}, kind)
    except msgspec.ValidationError as error:
        raise BadInputError(f"{name} parameters: {error}") from None
