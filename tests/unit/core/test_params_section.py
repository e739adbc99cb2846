"""A section of params.yaml that cannot be used is one line, whoever reads it."""

from collections.abc import Callable
from typing import Any

import pytest

from core.errors import BadInputError
from trading.execution.parameters import ExecutionParameters
from trading.feeds.guard import GuardParameters
from trading.risk.parameters import RiskParameters
from trading.strategy.sizing import SizingParameters

READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "risk": RiskParameters.from_params,
    "strategy": SizingParameters.from_params,
    "execution": ExecutionParameters.from_params,
    "feed": GuardParameters.from_params,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("content", "words"),
    [(5, "a mapping of names and values is needed, not 5"), ({"tarot": 1, 7: 2}, "there is no 7, tarot; there are ")],
)
def test_a_section_that_cannot_be_used(name: str, content: Any, words: str) -> None:
    with pytest.raises(BadInputError, match=f"{name} parameters: {words}"):
        READERS[name]({name: content})


@pytest.mark.parametrize("name", READERS)
def test_a_section_that_is_not_there_leaves_the_defaults(name: str) -> None:
    assert READERS[name]({}) == READERS[name]({name: None})
