"""``python -m training.stages <stage>``: imports only what its stage needs."""

import sys

from core.errors import ExitCode
from core.stage import dispatch, run


def _code() -> None:
    from training.stages import prepare

    prepare.code()


def _labels() -> None:
    from training.stages import prepare

    prepare.labels()


def _dataset() -> None:
    from training.stages import prepare

    prepare.dataset()


def _blend() -> None:
    from training.stages import fit

    fit.blend()


def _evaluate() -> None:
    from training.stages import judge

    judge.evaluation()


def _register() -> None:
    from training.stages import register

    register.register()


STAGES = {
    "code": _code,
    "labels": _labels,
    "dataset": _dataset,
    "blend": _blend,
    "evaluate": _evaluate,
    "register": _register,
}


def _train(name: str) -> None:
    from training.stages import fit

    fit.train(name)


def main(arguments: list[str]) -> None:
    """Run the stage that the arguments name and exit with its code."""
    if arguments[:1] == ["train"]:
        if len(arguments) != 2:
            sys.stderr.write("usage: python -m training.stages train {gru,lstm,random_forest,transformer,xgboost}\n")
            raise SystemExit(ExitCode.USAGE)
        run(lambda: _train(arguments[1]), f"train {arguments[1]}")
    dispatch(STAGES, arguments, "training")


main(sys.argv[1:])
