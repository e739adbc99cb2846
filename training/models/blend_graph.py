"""The ONNX graphs of a blend: components side by side on one window, pooled or stacked, then calibrated."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import IntegrityError
from training.models.calibration import FLOOR, Calibration
from training.models.graph import (
    INPUT,
    OUTPUT,
    assemble,
    calibration_nodes,
    calibration_values,
    float_value,
    int_value,
)

Part = tuple[list[Any], list[Any]]  # nodes and initial values


def merge(components: Sequence[tuple[str, Any, float]], calibration: Calibration) -> Any:
    """Return one graph for a weighted mean of components, calibrated.

    Args:
        components: name, model and weight of each. A component with a shorter look-back gets the last rows.
    """
    from onnx import helper

    weights = {name: weight for name, _, weight in components}
    scaled = [f"{name}_share" for name in weights]

    def weighted(name: str) -> Part:
        inputs = [f"{name}_{OUTPUT}", f"{name}_weight"]
        return [helper.make_node("Mul", inputs, [f"{name}_share"], name=f"{name}_share")], [
            float_value(f"{name}_weight", weights[name])
        ]

    (nodes, values), lookback, features = _side_by_side([(name, model) for name, model, _ in components], weighted)
    nodes += [helper.make_node("Sum", scaled, ["pooled"], name="pool"), *calibration_nodes("pooled")]
    return assemble(nodes, [*values, *calibration_values(calibration)], lookback, features)


def stack(
    components: Sequence[tuple[str, Any, NDArray[np.float64]]], bias: NDArray[np.float64], calibration: Calibration
) -> Any:
    """Return one graph for the softmax of components' log probabilities, each times a matrix, calibrated.

    Args:
        components: name, model and matrix [3, 3] of each (``stacking.LogisticStack.matrices``).
        bias: added to the logits, float64 [3].
        calibration: of what comes out.
    """
    from onnx import helper

    matrices = {name: matrix for name, _, matrix in components}
    moved = [f"stack_moved_{name}" for name in matrices]

    def multiplied(name: str) -> Part:
        floored, logs, matrix = (f"stack_{what}_{name}" for what in ("floored", "logs", "matrix"))
        return [
            helper.make_node("Max", [f"{name}_{OUTPUT}", "stack_floor"], [floored], name=floored),
            helper.make_node("Log", [floored], [logs], name=logs),
            helper.make_node("MatMul", [logs, matrix], [f"stack_moved_{name}"], name=f"stack_move_{name}"),
        ], [float_value(matrix, matrices[name])]

    (nodes, values), lookback, features = _side_by_side([(name, model) for name, model, _ in components], multiplied)
    values += [float_value("stack_floor", FLOOR), float_value("stack_bias", bias[None, :])]
    nodes += [
        helper.make_node("Sum", [*moved, "stack_bias"], ["stack_logits"], name="stack"),
        helper.make_node("Softmax", ["stack_logits"], ["stacked"], name="stack_normalise", axis=1),
        *calibration_nodes("stacked"),
    ]
    return assemble(nodes, [*values, *calibration_values(calibration)], lookback, features)


def _side_by_side(models: Sequence[tuple[str, Any]], after: Callable[[str], Part]) -> tuple[Part, int, int]:
    """Put models beside each other on one window, each followed by what ``after`` returns; the longest look-back leads.

    Returns:
        Nodes and values, look-back and feature count.
    """
    from onnx import compose, helper

    shapes = [[dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] for _, model in models]
    lookback, features = max(shape[1] for shape in shapes), shapes[0][2]
    if any(shape[2] != features for shape in shapes):
        raise IntegrityError("the components of the blend were made for different feature counts: retrain them all")
    nodes: list[Any] = []
    values: list[Any] = [int_value("axis", [1])]
    for (name, model), shape in zip(models, shapes, strict=True):
        part = compose.add_prefix(model, prefix=f"{name}_")
        if shape[1] == lookback:
            nodes.append(helper.make_node("Identity", [INPUT], [f"{name}_{INPUT}"], name=f"take_{name}"))
        else:
            values += [int_value(f"{name}_from", [-shape[1]]), int_value(f"{name}_to", [np.iinfo(np.int64).max])]
            nodes.append(
                helper.make_node(
                    "Slice",
                    [INPUT, f"{name}_from", f"{name}_to", "axis"],
                    [f"{name}_{INPUT}"],
                    name=f"take_{name}",
                )
            )
        more_nodes, more_values = after(name)
        nodes += [*part.graph.node, *more_nodes]
        values += [*part.graph.initializer, *more_values]
    return (nodes, values), lookback, features
