"""Makes small real model packages (softmax over a linear map, missing values imputed in the graph) for tests."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from core.digest import digest_file
from core.domain import CLASSES, PredictionRequest
from serving.release.approval import Approval, Decision, Scope
from serving.release.evidence import Evidence, Manifest, Rule, Verdict, VerifiedPackage, verify_package
from serving.store import ModelStore, Pointer

FEATURE_DIGEST = "f" * 64


def linear_model(lookback: int, features: int, bias: float, inner: str = "features", fails: str = "") -> bytes:
    """Return the ONNX bytes of softmax(W x + b) with NaN taken as 0.

    ``fails`` is what becomes of a row whose very first feature is 10 or more, which no warm-up vector has: ``nan``
    gives no number for it, ``raise`` makes the whole run fail.
    """
    size = lookback * features
    weights = np.random.default_rng(11).normal(scale=0.5, size=(size, 3)).astype(np.float32)
    nodes = [
        helper.make_node("IsNaN", [inner], ["missing"]),
        helper.make_node("Where", ["missing", "zero", inner], ["filled"]),
        helper.make_node("Reshape", ["filled", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["answers" if fails else "probabilities"], axis=1),
    ]
    if fails:
        nodes += [
            helper.make_node("Slice", ["flat", "from", "to", "axis"], ["first"]),
            helper.make_node("Div", ["first", "ten"], ["tens"]),
            helper.make_node("Floor", ["tens"], ["whole"]),
        ]
    if fails == "nan":
        nodes += [
            helper.make_node("Neg", ["whole"], ["negative"]),
            helper.make_node("Sqrt", ["negative"], ["strange"]),
            helper.make_node("Mul", ["strange", "zero"], ["nothing"]),
        ]
    elif fails == "raise":
        nodes += [
            helper.make_node("Max", ["whole", "zero"], ["positive"]),
            helper.make_node("Cast", ["positive"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["nothing"]),
        ]
    if fails:
        nodes.append(helper.make_node("Add", ["answers", "nothing"], ["probabilities"]))
    constants = {
        "zero": np.array(0, np.float32),
        "shape": np.array([-1, size], np.int64),
        "weights": weights,
        "bias": np.array([bias, 0, -bias], np.float32),
    }
    if fails:
        ends = {"from": [0], "to": [1], "axis": [1]}
        constants |= {name: np.array(value, np.int64) for name, value in ends.items()}
        constants |= {"ten": np.array(10, np.float32), "table": np.zeros(1, np.float32)}
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(inner, TensorProto.FLOAT, ["N", lookback, features])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_package(
    folder: Path,
    *,
    bias: float = 0.0,
    strategy: str = "tidegate-test",
    lookback: int = 2,
    features: int = 3,
    passed: bool = True,
    feature_digest: str = FEATURE_DIGEST,
    fails: str = "",
    sizing: dict[str, float] | None = None,
) -> Path:
    """Write a whole package; ``bias`` makes one model differ from the next, ``fails`` as for ``linear_model``.

    ``sizing`` are strategy parameters that the version brings along.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(linear_model(lookback, features, bias, fails=fails))
    inputs = np.random.default_rng(12).normal(size=(6, lookback, features)).astype(np.float32)
    inputs[0, 0, 0] = np.nan
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    np.savez(folder / "warmup.npz", inputs=inputs, outputs=session.run(None, {"features": inputs})[0])
    manifest = Manifest(
        name="linear",
        kind="linear",
        market="test",
        strategy=strategy,
        feature_set="test",
        feature_digest=feature_digest,
        features=tuple(f"feature_{index}" for index in range(features)),
        lookback=lookback,
        classes=CLASSES,
        model_digest=digest_file(folder / "model.onnx"),
        train_start_ns=1,
        train_end_ns=2,
        horizon=1,
        seed=7,
        parameters={"bias": bias} | ({} if sizing is None else {"strategy": sizing}),
    )
    manifest_digest = manifest.save(folder)
    Evidence(
        model_digest=manifest.model_digest,
        manifest_digest=manifest_digest,
        data_digest="d" * 64,
        feature_digest=feature_digest,
        code_digests={"training": "c" * 64},
        environment_digest="e" * 64,
        git_commit="0" * 40,
        out_of_sample={"log_loss": 1.09},
        verdict=Verdict.of(Rule(rule="beats_flat", passed=passed, value=0.01, limit=0.0, words="Beats flat.")),
    ).save(folder)
    return folder


def verified(folder: Path, **changes: object) -> VerifiedPackage:
    """Write a package and verify it."""
    return verify_package(write_package(folder, **changes))  # type: ignore[arg-type]


def approval_of(package: VerifiedPackage, version: str, sequence: int = 1, scope: Scope = Scope.PAPER) -> Approval:
    """Return an approval record as the ledger would have written it."""
    draft = Approval(
        sequence=sequence,
        time_ns=1_700_000_000_000_000_000 + sequence,
        strategy=package.manifest.strategy,
        version=version,
        model_digest=package.model_digest,
        evidence_digest=package.evidence_digest,
        decision=Decision.APPROVED,
        scope=scope,
        by="reviewer",
        reason="test",
        previous_hash="0" * 64,
    )
    return Approval(
        **{name: getattr(draft, name) for name in draft.__struct_fields__ if name != "hash"}, hash=draft.computed_hash()
    )


def put_in_store(
    store: ModelStore, package: VerifiedPackage, version: str, sequence: int = 1, scope: Scope = Scope.PAPER
) -> Pointer:
    """Make a package the champion in a store, as the publisher does after it has asked the ledger."""
    store.add(package)
    return store.move(approval_of(package, version, sequence, scope))


def request_for(
    package: VerifiedPackage, rows: int = 3, values: NDArray[np.float32] | None = None
) -> PredictionRequest:
    """Return a valid request of ``rows`` instruments."""
    shape = (rows, package.session.lookback, package.session.feature_count)
    features = np.random.default_rng(13).normal(size=shape).astype(np.float32) if values is None else values
    strategy = package.manifest.strategy
    instruments = tuple(f"I{index:05d}" for index in range(rows))
    return PredictionRequest(
        strategy=strategy,
        time_ns=1_700_000_000_123_456_789,
        instruments=instruments,
        decision_ids=tuple(f"{strategy}:{name}:1700000000123456789" for name in instruments),
        feature_digest=package.manifest.feature_digest,
        features=features,
    )
