"""What a trial can be judged by: names, directions and units. The measuring itself is in ``measure``."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Objective:
    """One number of a trial and the direction in which it gets better."""

    name: str
    direction: Literal["maximize", "minimize"]
    unit: str
    words: str

    def gain(self, value: float) -> float:
        """Return the value with the sign with which more is better."""
        return value if self.direction == "maximize" else -value

    def shown(self, value: float) -> str:
        """Return the value as a person reads it."""
        if self.unit == "share":
            return f"{100.0 * value:.4g} %"
        return f"{value:.6g} {self.unit}"


_ALL = (
    Objective("skill", "maximize", "share", "log-loss skill against the class frequencies of the training windows"),
    Objective("log_loss", "minimize", "nats", "mean log loss of the calibrated out-of-fold probabilities"),
    Objective("sharpe", "maximize", "a year", "Sharpe ratio after cost of the out-of-fold positions"),
    Objective("net_return", "maximize", "a year", "net return after cost, share of equity"),
    Objective("drawdown", "minimize", "share", "deepest fall of equity from a peak"),
    Objective("turnover", "minimize", "a year", "notional traded, multiples of equity"),
    Objective("latency", "minimize", "microseconds", "median time of one prediction of the last fold's ONNX graph"),
    Objective("size", "minimize", "bytes", "size of the last fold's ONNX graph"),
)
OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _ALL}
TRADED = frozenset({"sharpe", "net_return", "drawdown", "turnover"})
EXPORTED = frozenset({"latency", "size"})
