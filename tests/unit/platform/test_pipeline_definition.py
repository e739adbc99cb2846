"""dvc.yaml, params.yaml and the code agree with each other."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import BadInputError
from core.params import read_params
from flows.ingest import STAGES
from flows.pipeline import stage_names

ROOT = Path(__file__).resolve().parents[3]


def stages() -> dict[str, dict[str, Any]]:
    """Every stage with ``foreach`` written out."""
    written: dict[str, dict[str, Any]] = {}
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        if "foreach" not in stage:
            written[name] = stage
            continue
        assert stage["foreach"] == "${models.components}"
        for item in read_params(ROOT / "params.yaml")["models"]["components"]:
            written[f"{name}@{item}"] = yaml.safe_load(yaml.safe_dump(stage["do"]).replace("${item}", item))
    return written


def outputs(stage: dict[str, Any]) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else out for out in stage.get("outs", [])]


def lookup(params: dict[str, Any], key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value[part]
    return value


def test_every_parameter_a_stage_names_is_there() -> None:
    params = read_params(ROOT / "params.yaml")
    for name, stage in stages().items():
        for key in stage.get("params", []):
            try:
                lookup(params, key)
            except (KeyError, TypeError):
                pytest.fail(f"stage {name} names the parameter {key}, params.yaml has none")


def test_dvc_can_track_every_parameter() -> None:
    """DVC knows text and numbers; an unquoted date makes `dvc repro` fail."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                check(item, f"{where}.{key}")
        elif isinstance(value, list):
            for number, item in enumerate(value):
                check(item, f"{where}[{number}]")
        else:
            assert value is None or isinstance(value, str | int | float | bool), f"{where} is a {type(value).__name__}"

    check(read_params(ROOT / "params.yaml"), "params")


def test_every_dependency_is_made_by_an_earlier_stage() -> None:
    made: list[str] = []
    for name, stage in stages().items():
        for dependency in stage.get("deps", []):
            whole = [out for out in made if out == dependency or dependency.startswith(f"{out}/")]
            parts = [out for out in made if out.startswith(f"{dependency}/")]  # a folder that stages write into
            assert whole or parts, f"{name}: {dependency}"
        made += outputs(stage)
    assert len(made) == len(set(made)), "two stages write the same"


def test_the_flow_runs_all_stages_in_the_written_order() -> None:
    assert stage_names(ROOT) == list(stages())
    assert [name for name in stage_names(ROOT) if name in STAGES] == list(STAGES)


def test_a_component_not_chosen_is_no_stage(tmp_path: Path) -> None:
    params = read_params(ROOT / "params.yaml")
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    params["models"]["components"] = ["gru", "xgboost"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert [name for name in stage_names(tmp_path) if "@" in name] == ["train@gru", "train@xgboost"]
    params["models"]["components"] = []
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(BadInputError, match=r"models\.components is to be a list"):
        stage_names(tmp_path)


def test_each_stage_is_a_module_that_exists() -> None:
    import importlib.util

    for name, stage in stages().items():
        words = stage["cmd"].split()
        assert words[:2] == ["python", "-m"], name
        assert importlib.util.find_spec(words[2]) is not None, f"{name}: {words[2]}"


def test_outputs_in_the_cache_are_ignored_by_git() -> None:
    """DVC would otherwise write .gitignore files all over a clone when it runs."""
    import subprocess

    paths = [out for stage in stages().values() for out in outputs(stage)]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert sorted(done.stdout.split()) == sorted(paths)
