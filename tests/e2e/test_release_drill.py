"""Both stories of a release, approved by hand in the registry's page: minutes of real trading, so only when asked for.

The short forms that CI runs are tests of their own: releases over a traded ledger, the approval in a browser, a
rollback through Ray Serve.
"""

import os
from pathlib import Path

import pytest

from core.settings import Settings
from serving.release.publish import registry_client
from tidegate.drill.release import STRATEGY, run_release_drill
from tidegate.platform import Addresses
from tidegate.release import registry_settings

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.drill,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("TIDEGATE_LONG_DRILLS"), reason="minutes: set TIDEGATE_LONG_DRILLS=1"),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
]


def approve_in_the_page(addresses: Addresses, version: str, reason: str) -> None:
    """Set the two tags of an approval as a reviewer does."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(90_000)
        page.goto(f"{addresses.mlflow_uri}/#/models/{STRATEGY}/versions/{version}")
        page.get_by_role("cell", name="lineage.registered_by").wait_for()
        for name, value in (("approval_reason", reason), ("approval", "approved")):
            page.get_by_placeholder("Name").fill(name)
            page.get_by_placeholder("Value").fill(value)
            page.get_by_role("button", name="Add").last.click()
            page.get_by_role("cell", name=name, exact=True).wait_for()
        browser.close()


def test_one_approval_in_the_page_and_the_rest_goes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    for name in ("PREFECT", "MLFLOW", "SERVING", "RELEASE"):
        monkeypatch.setenv(f"TIDEGATE_{name}__PORT", "0")
    told: list[str] = []
    approved: list[str] = []

    def approve(addresses: Addresses, version: str, reason: str) -> None:
        approve_in_the_page(addresses, version, reason)
        approved.append(version)

    story = run_release_drill(Settings(), told.append, approve)
    assert story.problems == [], told
    assert (story.better["state"], story.worse["state"]) == ("champion", "rolled_back")
    assert story.session["answered_by_serve"] > 0
    assert len(approved) == 2
    for page in story.pages:
        assert "Timeline" in Path(page).read_text()
    settings = Settings()  # the servers are gone; what they stored is there
    client = registry_client(
        registry_settings(Addresses(settings, settings.state, mlflow_uri=settings.mlflow_tracking_uri))
    )
    better, worse = (client.get_model_version(STRATEGY, version).tags for version in approved)
    assert (better["approval"], better["release.state"]) == ("approved", "champion")
    assert worse["release.state"] == "rolled_back"
    assert "approval" not in worse, "what was taken back is barred: its approval stands no longer"
    assert "approved anew" in worse["release.barred"]
