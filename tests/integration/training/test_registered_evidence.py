"""A version of the registry carries its evidence: readable there, complete at once, and found when it was changed."""

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from synthetic_market import make_workspace, parameters

from core.digest import digest_file
from core.errors import BadInputError, IntegrityError, UnavailableError
from core.files import read_json
from core.settings import get_settings
from serving.release.attached import check_attached
from serving.release.evidence import Evidence
from serving.release.publish import fetch_package
from training.evidence import Bundle
from training.evidence.registered import LONGEST_DESCRIPTION, version_description
from training.stages import fit, judge, register

pytestmark = pytest.mark.heavy
NAME = "tidegate-synthetic"
MODELS: dict[str, Any] = {**parameters()["models"], "components": ["random_forest", "xgboost"]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Generator[MlflowClient]:
    """A registry with version 1, and this process in the workspace it came from."""
    folder, before, state = tmp_path_factory.mktemp("evidence"), Path.cwd(), os.environ.get("TIDEGATE_STATE_DIRECTORY")
    make_workspace(folder / "workspace", 0.0, steps=700, models=MODELS)
    os.chdir(folder / "workspace")
    os.environ["TIDEGATE_STATE_DIRECTORY"] = str(folder / "state")
    get_settings.cache_clear()
    for name in MODELS["components"]:
        fit.train(name)
    fit.blend()
    judge.evaluation()
    register.register()
    yield MlflowClient(tracking_uri=get_settings().mlflow_tracking_uri)
    os.chdir(before)
    os.environ.pop("TIDEGATE_STATE_DIRECTORY")
    if state is not None:
        os.environ["TIDEGATE_STATE_DIRECTORY"] = state
    get_settings.cache_clear()


def test_a_reviewer_reads_verdict_figures_rules_and_the_next_step_in_the_registry(client: MlflowClient) -> None:
    version, evidence = client.get_model_version(NAME, "1"), Evidence.load(Path("models/chosen"))
    bundle = Bundle.load(Path("reports/evaluation/bundle.json"))
    failed = [rule for rule in evidence.verdict.rules if not rule.passed]
    assert failed and version.tags["gate.verdict"] == "failed"
    assert version.tags["lineage.model"] == bundle.candidate
    assert version.tags["gate.failed_rules"] == ", ".join(rule.rule for rule in failed)
    assert bundle.search is not None and bundle.record is not None
    assert version.tags["gate.deflated_sharpe"] == f"{bundle.search.deflated:.4f}"
    assert version.tags["gate.trials"] == str(bundle.record.trials)
    assert version.tags["gate.evidence_digest"] == evidence.digest == version.tags["lineage.evidence_digest"]
    assert {version.tags[f"gate.rule.{rule.rule}"] for rule in failed} == {"failed"}
    text = version.description
    assert text is not None and len(text) <= LONGEST_DESCRIPTION
    assert f"refused it: {len(failed)} of {len(evidence.verdict.rules)} rules broken" in text
    assert text.count("| ✗ |") == len(failed)
    assert text.count("| ✓ |") == len(evidence.verdict.rules) - len(failed)
    assert "`tidegate approve 1 --reason" in text and "`approval_reason`" in text
    assert f"#/experiments/{read_json(Path('models/registered.json'))['experiment_id']}/runs/{version.run_id}" in text
    assert "/artifacts/evidence/bundle.html" in text


def test_a_description_never_outgrows_the_registry(client: MlflowClient) -> None:
    evidence = Evidence.load(Path("models/chosen"))
    bundle = Bundle.load(Path("reports/evaluation/bundle.json"))
    import msgspec

    loud = tuple(msgspec.structs.replace(rule, passed=False, words="x" * 900) for rule in evidence.verdict.rules)
    verdict = msgspec.structs.replace(evidence.verdict, passed=False, rules=loud)
    text = version_description(bundle, msgspec.structs.replace(evidence, verdict=verdict), "12", "3", "r" * 32)
    assert 4_000 < len(text) <= LONGEST_DESCRIPTION
    assert "the others are on the evidence page" in text and text.count("| ✗ |") == len(loud)


def test_registering_again_changes_nothing_and_mends_what_a_crash_left_out(client: MlflowClient) -> None:
    version = client.get_model_version(NAME, "1")
    before = (version.description, version.tags, version.last_updated_timestamp)
    register.register()
    again = client.get_model_version(NAME, "1")
    assert (again.description, again.tags, again.last_updated_timestamp) == before
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
    client.update_model_version(NAME, "1", "")  # as after a crash before it was written
    register.register()
    assert client.get_model_version(NAME, "1").description == before[0]
    client.update_model_version(NAME, "1", "seen, and I doubt the spread")
    register.register()
    assert client.get_model_version(NAME, "1").description == "seen, and I doubt the spread"


def changed(run_id: str, client: MlflowClient, name: str) -> Path:
    """Return the stored file of a run's evidence."""
    root = client.get_run(run_id).info.artifact_uri
    assert root is not None
    return Path(root.removeprefix("file://")) / "evidence" / name


@pytest.mark.parametrize(
    ("file", "edit", "words"),
    [
        ("bundle.json", lambda text: text.replace(b'"gaps":[]', b'"gaps":[ ]'), "digest of evidence/bundle.json"),
        ("bundle.html", lambda text: text.replace("✗".encode(), "✓".encode(), 1), "digest of evidence/bundle.html"),
        ("bundle.json", None, "evidence/bundle.json is gone"),
    ],
)
def test_an_edited_artifact_is_refused_by_name(
    client: MlflowClient, tmp_path: Path, file: str, edit: Callable[[bytes], bytes] | None, words: str
) -> None:
    run = str(client.get_model_version(NAME, "1").run_id)
    path = changed(run, client, file)
    content = path.read_bytes()
    assert fetch_package(client, NAME, "1", tmp_path).evidence.page_digest == digest_file(
        changed(run, client, "bundle.html")
    )
    try:
        path.unlink()
        if edit is not None:
            assert edit(content) != content
            path.write_bytes(edit(content))
        with pytest.raises(IntegrityError, match=words):
            fetch_package(client, NAME, "1", tmp_path)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("tag", ["gate.verdict", "lineage.evidence_digest"])
def test_a_forged_tag_is_refused_by_name(client: MlflowClient, tmp_path: Path, tag: str) -> None:
    right = client.get_model_version(NAME, "1").tags[tag]
    client.set_model_version_tag(NAME, "1", tag, "passed")
    try:
        with pytest.raises(IntegrityError, match=f"the tag {tag} is passed"):
            fetch_package(client, NAME, "1", tmp_path)
    finally:
        client.set_model_version_tag(NAME, "1", tag, right)


def test_a_model_judged_anew_is_a_version_of_its_own_and_the_old_one_still_holds(
    client: MlflowClient, tmp_path: Path
) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(content | {"gate": {"maximum_drift_share": 0.9}}))
    judge.evaluation()
    register.register()
    first, second = client.get_model_version(NAME, "1"), client.get_model_version(NAME, "2")
    assert first.tags["lineage.model_digest"] == second.tags["lineage.model_digest"]
    assert first.run_id != second.run_id
    packages = [fetch_package(client, NAME, version, tmp_path / version) for version in ("1", "2")]
    assert packages[0].evidence_digest != packages[1].evidence_digest
    with pytest.raises(IntegrityError, match="the tag lineage"):
        check_attached(client, NAME, "2", _with_bundle_of(packages[0].evidence, packages[1].evidence), tmp_path / "x")


def _with_bundle_of(evidence: Evidence, other: Evidence) -> Evidence:
    import msgspec

    return msgspec.structs.replace(evidence, bundle_digest=other.bundle_digest, page_digest=other.page_digest)


def test_what_cannot_be_fetched_says_why_in_one_line(client: MlflowClient, tmp_path: Path) -> None:
    import msgspec

    evidence = Evidence.load(Path("models/chosen"))
    with pytest.raises(BadInputError, match="there is no version 99"):
        check_attached(client, NAME, "99", evidence, tmp_path)
    with pytest.raises(BadInputError, match="without an evidence bundle"):
        check_attached(client, NAME, "1", msgspec.structs.replace(evidence, bundle_digest=None), tmp_path)
    # A version whose files lie behind an MLflow server, asked for while none runs.
    run = client.create_run(client.create_experiment("served", "mlflow-artifacts:/9")).info.run_id
    client.create_registered_model("served")
    client.create_model_version("served", "mlflow-artifacts:/9/model", run)
    for ask in (
        lambda: fetch_package(client, "served", "1", tmp_path),
        lambda: check_attached(client, "served", "1", evidence, tmp_path),
    ):
        with pytest.raises(UnavailableError, match="kept by an MLflow server, and none is running here") as caught:
            ask()
        assert "\n" not in caught.value.message
