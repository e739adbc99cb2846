"""The primary rule inside the exported graph: what is served knows the side from the same row the model sees."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.labels.primary import PrimaryRule, Probabilities, only_side
from training.labels.rows import FLAT, LONG, SHORT


def restrict(probabilities: Probabilities, windows: NDArray[np.float32], rule: PrimaryRule | None) -> Probabilities:
    """Return probabilities [N, 3] given the side of each window's last row [N, L, F]; unchanged without a rule."""
    return probabilities if rule is None else only_side(probabilities, rule.sides(windows[:, -1]))


def with_side(model: Any, rule: PrimaryRule | None) -> Any:
    """Return ``model`` with the probability of the side that the rule does not take set to 0; itself without a rule.

    Args:
        model: ``onnx.ModelProto`` of a package: ``features`` [N, L, F] to ``probabilities`` [N, 3].
        rule: of the labels it was fitted on.
    """
    if rule is None:
        return model
    from onnx import compose, helper, numpy_helper

    from training.models.graph import INPUT, OUTPUT, assemble

    def constant(name: str, value: Any, kind: Any) -> Any:
        return numpy_helper.from_array(np.asarray(value, kind), name)

    unit = np.eye(3)
    body = compose.add_prefix(model, prefix="free_")
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    nodes = [
        helper.make_node("Identity", [INPUT], [f"free_{INPUT}"], name="side_window"),
        *body.graph.node,
        helper.make_node("Gather", [INPUT, "side_last"], ["side_row"], name="side_row", axis=1),
        helper.make_node("Gather", ["side_row", "side_column"], ["side_raw"], name="side_feature", axis=1),
        helper.make_node("Mul", ["side_raw", "side_sign"], ["side_value"], name="side_direction"),
        helper.make_node("Greater", ["side_value", "side_upper"], ["side_is_long"], name="side_long"),
        helper.make_node("Less", ["side_value", "side_lower"], ["side_is_short"], name="side_short"),
        helper.make_node("Where", ["side_is_long", "side_long_mask", "side_no_mask"], ["side_if_long"], name="side_l"),
        helper.make_node(
            "Where", ["side_is_short", "side_short_mask", "side_if_long"], ["side_possible"], name="side_s"
        ),
        helper.make_node("Mul", [f"free_{OUTPUT}", "side_possible"], ["side_kept"], name="side_keep"),
        helper.make_node("ReduceSum", ["side_kept", "side_axis"], ["side_total"], name="side_total", keepdims=1),
        helper.make_node("Greater", ["side_total", "side_zero"], ["side_said"], name="side_said"),
        helper.make_node("Where", ["side_said", "side_total", "side_one"], ["side_divisor"], name="side_divisor"),
        helper.make_node("Div", ["side_kept", "side_divisor"], ["side_scaled"], name="side_scale"),
        helper.make_node("Where", ["side_said", "side_scaled", "side_no_mask"], [OUTPUT], name="side_answer"),
    ]
    values = [
        constant("side_last", -1, np.int64),
        constant("side_column", [rule.column], np.int64),
        constant("side_sign", rule.sign, np.float32),
        constant("side_upper", rule.threshold, np.float32),
        constant("side_lower", -rule.threshold, np.float32),
        constant("side_long_mask", [unit[FLAT] + unit[LONG]], np.float32),
        constant("side_short_mask", [unit[FLAT] + unit[SHORT]], np.float32),
        constant("side_no_mask", [unit[FLAT]], np.float32),
        constant("side_axis", [1], np.int64),
        constant("side_zero", 0.0, np.float32),
        constant("side_one", 1.0, np.float32),
    ]
    return assemble(nodes, [*values, *body.graph.initializer], shape[1], shape[2])
