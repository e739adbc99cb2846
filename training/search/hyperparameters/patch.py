"""Found parameters into ``params.yaml``: only the values change, comments and layout stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from core.errors import BadInputError
from core.files import write_bytes
from core.params import read_params


def apply_patch(path: Path, model: str, found: Mapping[str, Any]) -> str:
    """Write the found values into ``models.<model>`` of a parameter file and return its new text.

    Raises:
        BadInputError: the file cannot be changed without changing something else; it is left as it was.
    """
    text = patched(path.read_text(), model, found)
    write_bytes(path, text.encode())
    read_params(path)
    return text


def patched(text: str, model: str, found: Mapping[str, Any]) -> str:
    """Return the text of a parameter file with ``models.<model>`` changed.

    Raises:
        BadInputError: ``models`` is written in a way that cannot be edited in place.
    """
    before = yaml.safe_load(text)
    expected = {**before, "models": {**(before.get("models") or {})}}
    expected["models"][model] = {**(expected["models"].get(model) or {}), **found}
    # From the end to the beginning: an edit does not move what lies before it.
    for begin, end, new in sorted(_edits(text, model, found), reverse=True):
        text = text[:begin] + new + text[end:]
    if yaml.safe_load(text) != expected:
        raise BadInputError(f"params.yaml: models.{model} cannot be edited in place; write the values by hand")
    return text


def _edits(text: str, model: str, found: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    root = yaml.compose(text, yaml.SafeLoader)
    models = _child(root, "models")
    if models is None or not _is_mapping(models):
        return [(len(text), len(text), f"{_newline(text)}models:\n  {model}: {_flow(found)}\n")]
    own = _child(models, model)
    if own is None or not _is_mapping(own):
        return [_insertion(text, models, {model: found})]
    edits: list[tuple[int, int, str]] = []
    missing: dict[str, Any] = {}
    for name, value in sorted(found.items()):
        node = _child(own, name)
        if node is None:
            missing[name] = value
        else:
            edits.append((node.start_mark.index, _end(text, node), _scalar(value)))
    return edits + ([_insertion(text, own, missing)] if missing else [])


def _insertion(text: str, mapping: Any, values: Mapping[str, Any]) -> tuple[int, int, str]:
    """Return the edit that adds keys at the end of a mapping, in the mapping's own style."""
    if mapping.flow_style:
        place = _end(text, mapping) - 1
        body = ", ".join(f"{name}: {_scalar(value)}" for name, value in sorted(values.items()))
        start = place - (1 if text[place - 1] == " " else 0)
        return start, start, f", {body}" if mapping.value else f" {body}"
    indent = " " * mapping.value[0][0].start_mark.column
    last = mapping.value[-1][1]
    line = text.find("\n", _end(text, last))
    place = len(text) if line < 0 else line + 1
    body = "".join(f"{indent}{name}: {_scalar(value)}\n" for name, value in sorted(values.items()))
    return place, place, (_newline(text) if line < 0 else "") + body


def _child(node: Any, key: str) -> Any:
    if not _is_mapping(node):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _is_mapping(node: Any) -> bool:
    return isinstance(node, yaml.MappingNode)


def _end(text: str, node: Any) -> int:
    """Return where a node's own text ends: the end mark of a block lies behind the blanks after it."""
    begin, end = node.start_mark.index, node.end_mark.index
    return begin + len(text[begin:end].rstrip())


def _flow(values: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{name}: {_scalar(value)}" for name, value in sorted(values.items())) + " }"


def _scalar(value: Any) -> str:
    if isinstance(value, Mapping):
        return _flow(value)
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("...").strip()


def _newline(text: str) -> str:
    return "" if not text or text.endswith("\n") else "\n"
