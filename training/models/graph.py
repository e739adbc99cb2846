"""ONNX graphs: a component's model behind ``features``, its calibration, repeatable bytes, and the proof of parity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import IntegrityError
from core.files import write_bytes
from training.models.calibration import FLOOR, Calibration

OPSET = 17  # one for all components, so that the blend can merge them
ML_OPSET = 3
IR_VERSION = 8
INPUT, OUTPUT = "features", "probabilities"
PARITY_LIMIT = 1e-4  # a difference above it means another model, not another rounding


def float_value(name: str, value: Any) -> Any:
    """Return an initial value of a graph, float32."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value, np.float32), name)


def int_value(name: str, value: Any) -> Any:
    """Return an initial value of a graph, int64."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value, np.int64), name)


def assemble(nodes: list[Any], initializers: list[Any], lookback: int, features: int) -> Any:
    """Return a model of these nodes with the package's input and output."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        "tidegate",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", lookback, features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", 3])],
        initializers,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tidegate")


def from_tabular(
    converted: Any,
    features: int,
    classes: Sequence[int] = (0, 1, 2),
    factors: NDArray[np.float64] | None = None,
) -> Any:
    """Put a converted tabular model ([N, F] to class probabilities) behind a window: it sees the last row.

    Args:
        converted: the converter's model.
        features: F.
        classes: which classes its columns are; a class that the training rows lacked gets probability 0.
        factors: how often each class counted in the fit [3], divided out again (``class_weights.put_right``).
    """
    from onnx import helper

    body = _prefixed(converted, "model_")
    inner_input = body.graph.input[0].name
    inner_output = next(o.name for o in body.graph.output if len(o.type.tensor_type.shape.dim) == 2)
    placed = OUTPUT if factors is None else "weighted"
    nodes = [
        helper.make_node("Gather", [INPUT, "last"], [inner_input], name="last_row", axis=1),
        *body.graph.node,
        helper.make_node("MatMul", [inner_output, "placement"], [placed], name="answer"),
    ]
    values = [int_value("last", -1), float_value("placement", np.eye(3)[list(classes)]), *body.graph.initializer]
    if factors is not None:
        nodes += [
            helper.make_node("Div", [placed, "factors"], ["divided"], name="put_right"),
            helper.make_node("ReduceSum", ["divided", "class_axis"], ["sum"], name="sum_of_classes", keepdims=1),
            helper.make_node("Div", ["divided", "sum"], [OUTPUT], name="normalise_classes"),
        ]
        values += [float_value("factors", factors[None, :]), int_value("class_axis", [1])]
    return assemble(nodes, values, 1, features)


def from_margins(converted: Sequence[Any], features: int) -> Any:
    """Put three converted regressions, the log-odds of each class up to a constant, behind a window: softmax of them.

    Args:
        converted: the converter's models by class.
        features: F.
    """
    from onnx import helper

    nodes: list[Any] = [helper.make_node("Gather", [INPUT, "last"], ["row"], name="last_row", axis=1)]
    values: list[Any] = [int_value("last", -1)]
    margins: list[str] = []
    for number, model in enumerate(converted):
        body = _prefixed(model, f"class_{number}_")
        nodes.append(helper.make_node("Identity", ["row"], [body.graph.input[0].name], name=f"take_{number}"))
        nodes += body.graph.node
        values += body.graph.initializer
        margins.append(body.graph.output[0].name)
    nodes += [
        helper.make_node("Concat", margins, ["margins"], name="all_margins", axis=1),
        helper.make_node("Softmax", ["margins"], [OUTPUT], name="answer", axis=1),
    ]
    return assemble(nodes, values, 1, features)


def from_recurrent(exported: Any, lookback: int, features: int) -> Any:
    """Return an exported network, whose names are already the package's, with fixed opset and metadata."""
    return assemble(list(exported.graph.node), list(exported.graph.initializer), lookback, features)


def with_calibration(model: Any, calibration: Calibration) -> Any:
    """Return ``model`` with its probabilities calibrated inside the graph."""
    from onnx import helper

    body = _prefixed(model, "raw_")
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    nodes = [
        helper.make_node("Identity", [INPUT], [f"raw_{INPUT}"], name="window"),
        *body.graph.node,
        *calibration_nodes(f"raw_{OUTPUT}"),
    ]
    return assemble(nodes, [*body.graph.initializer, *calibration_values(calibration)], shape[1], shape[2])


def _prefixed(model: Any, prefix: str) -> Any:
    from onnx import compose

    return compose.add_prefix(model, prefix=prefix)


def calibration_nodes(source: str) -> list[Any]:
    """Return the nodes that calibrate the probabilities called ``source``; their answer is the graph's."""
    from onnx import helper

    return [
        helper.make_node("Max", [source, "floor"], ["floored"], name="floor_probability"),
        helper.make_node("Log", ["floored"], ["logs"], name="log_probability"),
        helper.make_node("MatMul", ["logs", "slopes"], ["scaled_logs"], name="slope_scaling"),
        helper.make_node("Add", ["scaled_logs", "base"], ["logits"], name="base_rates"),
        helper.make_node("Softmax", ["logits"], [OUTPUT], name="normalise", axis=1),
    ]


def calibration_values(calibration: Calibration) -> list[Any]:
    """Return the numbers that ``calibration_nodes`` read."""
    return [
        float_value("floor", FLOOR),
        float_value("slopes", calibration.matrix),
        float_value("base", calibration.bias[None, :]),
    ]


def to_bytes(model: Any) -> bytes:
    """Return the model's bytes, the same for the same model: no dates, no library versions, fixed field order.

    Raises:
        IntegrityError: the graph is not valid ONNX.
    """
    import onnx

    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.producer_version = ""
    clean.doc_string = ""
    del clean.metadata_props[:]
    del clean.graph.value_info[:]
    for node in clean.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    try:
        onnx.checker.check_model(clean, full_check=False)
    except onnx.checker.ValidationError as error:
        raise IntegrityError(f"the exported graph is not valid ONNX: {str(error).splitlines()[0]}") from None
    return clean.SerializeToString(deterministic=True)


def run(content: bytes, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Answer windows [N, L, F] with the exported graph, as a replica would; float64 [N, 3]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], {INPUT: windows})[0], np.float64)


def check_parity(content: bytes, windows: NDArray[np.float32], expected: NDArray[np.float64]) -> float:
    """Return the largest difference between the graph's answers and the native model's.

    Raises:
        IntegrityError: it is above ``PARITY_LIMIT``, or an answer is not finite.
    """
    answers = run(content, windows)
    if not np.isfinite(answers).all():
        raise IntegrityError("the exported graph answers with values that are not finite: do not release it")
    difference = float(np.abs(answers - expected).max())
    if not difference <= PARITY_LIMIT:
        raise IntegrityError(
            f"the exported graph differs from the fitted model by {difference:.2g}, allowed {PARITY_LIMIT:g}"
        )
    return difference


def save(path: Path, content: bytes) -> None:
    """Write a model file, whole or not at all."""
    write_bytes(path, content)
