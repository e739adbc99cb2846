"""The border of every pipeline stage: one line, the right exit code, defects keep their traceback."""

import pytest

from core.errors import BadInputError, ExitCode, RefusedError, UnavailableError
from core.stage import INTERRUPTED, dispatch, run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInputError("first\n  second"), ExitCode.BAD_INPUT),
        (RefusedError("first second"), ExitCode.REFUSED),
        (UnavailableError("first second"), ExitCode.UNAVAILABLE),
    ],
)
def test_error_becomes_one_line_and_its_code(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run(main, "ingest")
    assert ended.value.code == code
    assert capsys.readouterr().err == "tidegate ingest: first second\n"


def test_success_interrupt_and_defect() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def defect() -> None:
        raise ZeroDivisionError

    for main, code in ((lambda: None, 0), (interrupted, INTERRUPTED)):
        with pytest.raises(SystemExit) as ended:
            run(main, "ingest")
        assert ended.value.code == code
    with pytest.raises(ZeroDivisionError):
        run(defect, "ingest")


@pytest.mark.parametrize("arguments", [[], ["nope"], ["a", "b"]])
def test_unknown_stage_lists_the_known(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dispatch({"a": lambda: None}, arguments, "data")
    assert ended.value.code == ExitCode.USAGE
    assert "python -m data.stages {a}" in capsys.readouterr().err


def test_named_stage_runs(capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []
    with pytest.raises(SystemExit) as ended:
        dispatch({"a": lambda: ran.append("a")}, ["a"], "data")
    assert (ended.value.code, ran, capsys.readouterr().err) == (0, ["a"], "")
