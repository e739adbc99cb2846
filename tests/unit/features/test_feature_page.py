"""The feature catalogue in the guide is what the code prints: a change of kernel or catalogue changes the page too."""

from pathlib import Path

from features.describe import render

PAGE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "features.md"


def test_feature_page_is_what_the_code_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), (
        "docs/guide/features.md is out of date: python -m features.describe > docs/guide/features.md"
    )
