"""The feature catalogue as a page: ``python -m features.describe`` prints Markdown for the docs."""

import sys

from features import catalogue as definitions
from features.catalogue import catalogue
from features.sets import SET_NAMES, feature_set


def render() -> str:
    """Return a Markdown page with every feature's formula, unit, warm-up, sets and source."""
    notation = (definitions.__doc__ or "").strip().split("\n\n", 1)[1]
    sets = {name: set(feature_set(name).columns) for name in SET_NAMES}
    lines = ["# Features", "", notation, ""]
    for name in SET_NAMES:
        definition = feature_set(name)
        lines.append(
            f"- Set `{name}`: {len(definition.columns)} features, warm after {max(definition.warm_up)} rows, "
            f"digest `{definition.digest[:16]}`."
        )
    lines += ["", "| feature | formula | unit | warm-up | sets | source |", "|---|---|---|---:|---|---|"]
    for feature in catalogue():
        held = ", ".join(name for name in SET_NAMES if feature.name in sets[name])
        cells = (feature.formula, feature.unit, str(feature.warm_up), held, feature.source)
        lines.append(f"| `{feature.name}` | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
