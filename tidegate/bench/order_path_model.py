"""The model of the order-path benchmark: published as any champion, and of another mind with nearly every bar.

It looks at the sign of the newest bar's return and wants the other side at full conviction: on a random walk the side
changes at every second bar. Its evidence says what it is; it is published into the benchmark's own folder only.
"""

from pathlib import Path
from typing import Any

import numpy as np

from core.digest import digest_file
from core.domain import CLASSES
from core.errors import BadInputError
from features.sets import feature_set
from serving.release.approval import Approval, Decision, Scope
from serving.release.evidence import MODEL_FILE, WARMUP_FILE, Manifest
from serving.session import INPUT_NAME, OUTPUT_NAME
from serving.store import ModelStore
from tidegate.bench.made_evidence import complete_package

STRATEGY = "tidegate-bench"
FEATURE_SET = "bars"
LOOKBACK = 32
_RETURN = "return_1"
_STEEPNESS = 1e7  # of the score over the return: one tick of EUR/USD is full conviction
_HIDDEN = 64


def publish_bench_model(root: Path, folder: Path) -> str:
    """Write the package into ``folder``, publish it into the model store at ``root`` and return its model's digest.

    Raises:
        BadInputError: the package ``onnx``, which writes model files, is not installed.
    """
    columns = feature_set(FEATURE_SET).columns
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(_model(len(columns), columns.index(_RETURN)))
    inputs = np.random.default_rng(5).normal(scale=1e-4, size=(4, LOOKBACK, len(columns))).astype(np.float32)
    np.savez(folder / WARMUP_FILE, inputs=inputs, outputs=_answers(folder, inputs))
    manifest = Manifest(
        name="reversal",
        kind="blend",
        market="bars",
        strategy=STRATEGY,
        feature_set=FEATURE_SET,
        feature_digest=feature_set(FEATURE_SET).digest,
        features=columns,
        lookback=LOOKBACK,
        classes=CLASSES,
        model_digest=digest_file(folder / MODEL_FILE),
        train_start_ns=0,
        train_end_ns=0,
        horizon=1,
        seed=0,
        parameters={"steepness": _STEEPNESS},
    )
    words = "Fitted to nothing: a benchmark's model, approved for its own folder."
    package = complete_package(folder, manifest, "benchmark", words)
    store = ModelStore(root)
    store.add(package)
    values: dict[str, Any] = {
        "sequence": 1,
        "time_ns": 0,
        "strategy": STRATEGY,
        "version": "1",
        "model_digest": package.model_digest,
        "evidence_digest": package.evidence_digest,
        "decision": Decision.APPROVED,
        "scope": Scope.PAPER,
        "by": "bench",
        "reason": words,
        "previous_hash": "0" * 64,
    }
    store.move(Approval(**values, hash=Approval(**values).computed_hash()))
    return package.model_digest


def _model(features: int, column: int) -> bytes:
    """Return softmax of a score that falls with the newest return, behind a dense layer of usual size.

    The layer costs what a small model costs; its weights into the score are zero.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise BadInputError("the benchmark writes a model file: pip install 'tidegate[training]' for onnx") from None
    size = LOOKBACK * features
    newest = (LOOKBACK - 1) * features + column
    first = np.random.default_rng(6).normal(scale=0.05, size=(size, _HIDDEN)).astype(np.float32)
    first[:, 0] = 0.0
    first[newest, 0] = _STEEPNESS
    second = np.zeros((_HIDDEN, 3), np.float32)
    second[0] = (20.0, 0.0, -20.0)
    constants = {
        "zero": np.array(0, np.float32),
        "shape": np.array([-1, size], np.int64),
        "first": first,
        "second": second,
    }
    nodes = [
        helper.make_node("IsNaN", [INPUT_NAME], ["missing"]),
        helper.make_node("Where", ["missing", "zero", INPUT_NAME], ["filled"]),
        helper.make_node("Reshape", ["filled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["bent"]),
        helper.make_node("MatMul", ["bent", "second"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [OUTPUT_NAME], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "reversal",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["N", LOOKBACK, features])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _answers(folder: Path, inputs: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / MODEL_FILE), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: inputs})[0]
