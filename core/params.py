"""``params.yaml``: the ML parameters, tracked by DVC. One reader, so that a missing key gets one clear message."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from core.errors import BadInputError


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
