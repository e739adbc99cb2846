"""The command line as a person or a script meets it: help, exit codes, one line for an error, JSON as the last line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.embedded.guardian import marked
from core.errors import ExitCode
from tidegate.cli import app

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = [
    command.name or command.callback.__name__ for command in app.registered_commands if command.callback is not None
]


def run(*arguments: str, state: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TIDEGATE_STATE_DIRECTORY": str(state)}
    return subprocess.run(
        [sys.executable, "-m", "tidegate.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=120,
        check=False,
    )


def test_help_lists_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.argv = ['tidegate', '--help']\nfrom tidegate.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    heavy = {'torch', 'xgboost', 'sklearn', 'feast', 'mlflow', "
        "'prefect', 'ray', 'evidently', 'pandas', 'plotly', 'numpy', 'numba', 'sqlalchemy', 'dvc'}\n"
        "    print(sorted(heavy & set(sys.modules)), end.code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "[] 0"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: tidegate {command}" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-command"], ExitCode.USAGE, "no-such-command"),
        (["ingest", "--since", "2020-01-01"], ExitCode.USAGE, "need --source"),
        (["trade", "--broker", "casino"], ExitCode.USAGE, "no broker 'casino'"),
        (["up", "--foreground", "--without", "coffee"], ExitCode.USAGE, "no service 'coffee'"),
        (["ingest", "--source", "tarot", "-w", "{workspace}"], None, "tarot"),
        (["status"], ExitCode.UNAVAILABLE, ""),
        (["retrain", "-w", "{empty}"], ExitCode.BAD_INPUT, "no workspace"),
    ],
)
def test_errors_are_one_line_and_their_exit_code(
    tmp_path: Path, arguments: list[str], code: int | None, words: str
) -> None:
    from tidegate.workspace import create_workspace

    (tmp_path / "empty").mkdir()
    places = {"{empty}": str(tmp_path / "empty")}
    if "{workspace}" in arguments:
        places["{workspace}"] = str(create_workspace(tmp_path / "workspace", {}, ROOT))
    done = run(*[places.get(word, word) for word in arguments], "--json", state=tmp_path / "state")
    assert "Traceback" not in done.stderr
    assert done.returncode == code if code is not None else done.returncode in (ExitCode.USAGE, ExitCode.BAD_INPUT)
    answer = json.loads(done.stdout.splitlines()[-1])
    if arguments != ["status"]:
        assert words in answer["error"]
        assert answer["exit_code"] == done.returncode
        assert done.stderr.strip().splitlines()[-1] == f"tidegate: {answer['error']}"
    else:
        assert answer["services"] == []


def test_a_malformed_setting_is_named_without_its_value(tmp_path: Path) -> None:
    environment = {**os.environ, "TIDEGATE_SERVING__PORT": "hunter2"}
    done = subprocess.run(
        [sys.executable, "-m", "tidegate.cli", "down", "--state", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    assert "TIDEGATE_SERVING__PORT" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_closed_reader_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m tidegate.cli down --state {tmp_path} | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_server_in_the_foreground_in_order(tmp_path: Path, number: int) -> None:
    ready = tmp_path / "ready.json"
    arguments = ["practice-broker", "--ready-file", str(ready)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tidegate.cli", *arguments], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    deadline = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_a_start_ends_what_was_started(tmp_path: Path, number: int, code: int) -> None:
    arguments = [sys.executable, "-m", "tidegate.cli", "up", "--foreground", "-w", str(ROOT)]
    without = [word for name in ("deployments", "pusher", "serving", "release") for word in ("--without", name)]
    ports = {f"TIDEGATE_{name}__PORT": "0" for name in ("MLFLOW", "PREFECT", "SERVING")}
    process = subprocess.Popen(
        [*arguments, *without],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ports, "TIDEGATE_STATE_DIRECTORY": str(tmp_path)},
    )
    records = tmp_path / "run"
    deadline = time.monotonic() + 60
    while not (records / "redis.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    tokens = [json.loads(path.read_text())["token"] for path in records.glob("*.json") if path.stem != "supervisor"]
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert tokens
    assert not any(marked(token) for token in tokens)
