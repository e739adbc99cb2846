"""Whatever is encoded comes back bit for bit; whatever else arrives is refused in one line."""

import json
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.domain import PredictionRequest
from core.errors import BadInputError
from serving import codec
from serving.answer import Answer, AnswerHeader, VersionName

names = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
small_names = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
floats = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def requests(draw: st.DrawFn, finite: bool = False) -> PredictionRequest:
    shape = tuple(draw(st.integers(1, limit)) for limit in (6, 4, 5))
    numbers = st.floats(width=32, allow_nan=True, allow_infinity=False) if finite else floats
    return PredictionRequest(
        strategy=draw(names),
        time_ns=draw(st.integers(-(2**63), 2**63 - 1)),
        instruments=tuple(draw(st.lists(names, min_size=shape[0], max_size=shape[0]))),
        decision_ids=tuple(draw(st.lists(names, min_size=shape[0], max_size=shape[0]))),
        feature_digest=draw(names),
        features=draw(hnp.arrays(np.float32, shape, elements=numbers)),
    )


def same(left: PredictionRequest, right: PredictionRequest) -> bool:
    words = [(r.strategy, r.time_ns, r.instruments, r.decision_ids, r.feature_digest) for r in (left, right)]
    return words[0] == words[1] and left.features.dtype == right.features.dtype


@given(requests())
def test_binary_request_round_trip_is_exact(request: PredictionRequest) -> None:
    decoded = codec.decode_request(codec.encode_request(request))
    assert same(request, decoded)
    assert decoded.features.tobytes() == request.features.tobytes()
    assert decoded.features.flags.aligned
    assert decoded.features.flags.c_contiguous


@given(requests(finite=True))
def test_json_request_means_the_same_as_binary(request: PredictionRequest) -> None:
    rows = [[[None if np.isnan(v) else v for v in row] for row in window] for window in request.features.tolist()]
    body = json.dumps(
        {
            "strategy": request.strategy,
            "time_ns": request.time_ns,
            "instruments": request.instruments,
            "decision_ids": request.decision_ids,
            "feature_digest": request.feature_digest,
            "features": rows,
        }
    )
    decoded = codec.decode_json_request(body.encode())
    assert same(request, decoded)
    assert np.array_equal(decoded.features, request.features, equal_nan=True)


@given(requests(), st.data())
def test_a_cut_or_lengthened_body_is_refused(request: PredictionRequest, data: st.DataObject) -> None:
    body = codec.encode_request(request)
    with pytest.raises(BadInputError):
        codec.decode_request(body[: data.draw(st.integers(0, len(body) - 1))])
    with pytest.raises(BadInputError):
        codec.decode_request(body + data.draw(st.binary(min_size=1, max_size=9)))


@given(requests(), st.data())
def test_a_damaged_body_is_a_request_or_one_clear_line(request: PredictionRequest, data: st.DataObject) -> None:
    body = bytearray(codec.encode_request(request))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, min(len(body), 200) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = codec.decode_request(bytes(body))
    except BadInputError as error:
        assert "\n" not in error.message
    else:
        assert decoded.features.shape[0] == len(decoded.instruments) == len(decoded.decision_ids)


def test_a_name_with_a_line_break_is_still_one_line() -> None:
    header = msgspec.msgpack.encode({"\nstrategy": "x"})
    body = struct.pack("<4sI", codec.REQUEST_MAGIC, len(header)) + header
    with pytest.raises(BadInputError) as caught:
        codec.decode_request(body)
    assert "\n" not in caught.value.message


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    for decode in (codec.decode_request, codec.decode_json_request, codec.decode_answer):
        with pytest.raises(BadInputError):
            decode(noise)


@given(st.recursive(st.none() | st.booleans() | st.floats() | names, lambda inner: st.lists(inner, max_size=4)))
def test_json_features_of_any_shape_are_windows_or_refused(features: object) -> None:
    body = {
        "strategy": "s",
        "time_ns": 1,
        "instruments": ["A"],
        "decision_ids": ["d"],
        "feature_digest": "f",
        "features": features,
    }
    try:
        decoded = codec.decode_json_request(json.dumps(body).encode())
    except BadInputError as error:
        assert "\n" not in error.message
    else:
        assert decoded.features.ndim == 3
        assert decoded.features.shape[0] == 1
        assert decoded.features.size > 0


@given(st.data())
def test_binary_answer_round_trip_is_exact(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 9))
    names = st.builds(VersionName, small_names, small_names, small_names)
    challenger = data.draw(st.none() | names)
    arms = data.draw(st.just(b"") | st.lists(st.integers(0, 2), min_size=rows, max_size=rows).map(bytes))
    champion = data.draw(names)
    header = AnswerHeader(
        champion.model_name,
        champion.model_version,
        champion.model_digest,
        data.draw(st.integers(0, 2**40)),
        challenger,
        arms if challenger else b"",
    )
    values = data.draw(hnp.arrays(np.float32, (3 if challenger else 1, rows, 3), elements=floats))
    decoded = codec.decode_answer(codec.encode_answer(Answer(header, values)))
    assert decoded.header == header
    assert decoded.values.tobytes() == values.tobytes()
    assert decoded.values.shape == values.shape


def test_arms_that_do_not_fit_the_rows_are_refused() -> None:
    challenger = VersionName("m", "2", "d")
    for second, arms in ((challenger, b"\0"), (challenger, b"\0\3"), (None, b"\0\1")):
        values = np.zeros((3 if second else 1, 2, 3), np.float32)
        answer = Answer(AnswerHeader("m", "1", "c", 1, second, arms), values)
        with pytest.raises(BadInputError, match="arms"):
            codec.decode_answer(codec.encode_answer(answer))


def test_hostile_headers_allocate_nothing() -> None:
    header = codec.RequestHeader("s", 1, ("A",), ("d",), "f", 2**62, 2**62)
    head = msgspec.msgpack.encode(header)
    with pytest.raises(BadInputError, match="bytes of numbers"):
        codec.decode_request(b"TGQ1" + len(head).to_bytes(4, "little") + head + bytes(64))
    with pytest.raises(BadInputError, match="does not fit"):
        codec.decode_request(b"TGQ1" + (2**32 - 1).to_bytes(4, "little") + bytes(64))


def test_batch_limits(tmp_path: Path) -> None:
    count = codec.MAXIMUM_ROWS + 1
    many = PredictionRequest("s", 1, ("A",) * count, ("d",) * count, "f", np.zeros((count, 1, 1), np.float32))
    with pytest.raises(BadInputError, match=f"send 1 to {codec.MAXIMUM_ROWS}"):
        codec.decode_request(codec.encode_request(many))
    none = PredictionRequest("s", 1, (), (), "f", np.zeros((0, 1, 1), np.float32))
    with pytest.raises(BadInputError, match="0 instruments"):
        codec.decode_request(codec.encode_request(none))
    uneven = PredictionRequest("s", 1, ("A",), ("d", "e"), "f", np.zeros((1, 1, 1), np.float32))
    with pytest.raises(BadInputError, match="must be equal"):
        codec.decode_request(codec.encode_request(uneven))
