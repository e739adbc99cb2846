"""The bodies of ``POST /v1/predict``: a compact binary form for the trading loop and JSON for everybody else.

Binary request (little endian), content type ``application/octet-stream``::

    4 bytes   "TGQ1"
    4 bytes   uint32 H, length of the header
    H bytes   MessagePack map: strategy, time_ns, instruments [N], decision_ids [N], feature_digest, lookback, features
    p bytes   zeros up to the next multiple of 8, counted from the start of the body
    rest      float32 N x lookback x features, C order, oldest row first; NaN is a missing value

Binary answer: the same frame with "TGA2", a header map and float32 numbers in the order short, flat, long::

    model_name, model_version, model_digest   the champion
    revision                                  of the traffic policy
    challenger                                {model_name, model_version, model_digest}; only while one is scored
    arms                                      N bytes: 0 champion, 1 challenger, 2 blend; only where one is not 0
    N x 3                                     what is traded
    2 x N x 3                                 only with a challenger: what champion and challenger said, NaN where the
                                              challenger said nothing usable
"""

import struct
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES, AnsweredBy, PredictionRequest
from core.errors import BadInputError
from core.stage import one_line
from serving.answer import ARMS, Answer, AnswerHeader
from serving.traffic.policy import Arm

BINARY = "application/octet-stream"
JSON = "application/json"
REQUEST_MAGIC = b"TGQ1"
ANSWER_MAGIC = b"TGA2"
MAXIMUM_ROWS = 8192  # instruments in one request; the largest honest batch is a backfill of 1,024s
MAXIMUM_BODY = 64 * 1024 * 1024  # bytes; 8,192 rows of 20 x 60 floats are 39 MB
_PREFIX = struct.Struct("<4sI")
_REMEMBERED = 64  # rows of an answer whose head is kept
_ALIGNMENT = 8  # a float buffer handed to numpy without a copy must be aligned

Header = TypeVar("Header", bound=msgspec.Struct)


class RequestHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked, without the numbers."""

    strategy: str
    time_ns: int
    instruments: tuple[str, ...]
    decision_ids: tuple[str, ...]
    feature_digest: str
    lookback: int
    features: int


class JsonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON form of a request; ``features`` is nested [instrument][row][feature], null is a missing value."""

    strategy: str
    time_ns: int
    instruments: tuple[str, ...]
    decision_ids: tuple[str, ...]
    feature_digest: str
    features: list[list[list[float | None]]]


class JsonAlternative(msgspec.Struct, frozen=True):
    """What a scored version said that is not traded by itself."""

    arm: Arm
    probability_short: float
    probability_flat: float
    probability_long: float


class JsonPrediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The probabilities for one instrument; ``arm`` is left out where it is the champion."""

    decision_id: str
    instrument: str
    probability_short: float
    probability_flat: float
    probability_long: float
    arm: Arm = Arm.CHAMPION
    alternatives: tuple[JsonAlternative, ...] = ()


class JsonVersion(msgspec.Struct, frozen=True):
    """The version behind an arm."""

    arm: Arm
    model_name: str
    model_version: str
    model_digest: str


class JsonAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON form of an answer; the first three fields are the champion's, ``versions`` all arms of a release."""

    model_name: str
    model_version: str
    model_digest: str
    revision: int
    predictions: list[JsonPrediction]
    versions: tuple[JsonVersion, ...] = ()


_request_header_decoder = msgspec.msgpack.Decoder(RequestHeader)
_answer_header_decoder = msgspec.msgpack.Decoder(AnswerHeader)
_json_decoder = msgspec.json.Decoder(JsonRequest)
_encoder = msgspec.msgpack.Encoder()
_json_encoder = msgspec.json.Encoder()


def encode_request(request: PredictionRequest) -> bytes:
    """Return the binary body of a request."""
    _, lookback, features = request.features.shape
    header = RequestHeader(
        request.strategy,
        request.time_ns,
        request.instruments,
        request.decision_ids,
        request.feature_digest,
        lookback,
        features,
    )
    return _head(REQUEST_MAGIC, header) + np.ascontiguousarray(request.features, dtype="<f4").tobytes()


def decode_request(body: bytes) -> PredictionRequest:
    """Read the binary body of a request; the features are a read-only view of ``body``.

    Raises:
        BadInputError: the body is not of the form described at the top, in one clear line.
    """
    header, offset = _unframe(REQUEST_MAGIC, body, _request_header_decoder)
    count = len(header.instruments)
    if header.lookback < 1 or header.features < 1:
        raise BadInputError(f"lookback {header.lookback} and features {header.features} must be at least 1")
    values = _floats(body, offset, (count, header.lookback, header.features))
    return _checked(
        PredictionRequest(
            header.strategy, header.time_ns, header.instruments, header.decision_ids, header.feature_digest, values
        )
    )


def encode_answer(answer: Answer) -> bytes:
    """Return the binary body of an answer."""
    head = _answer_head(answer.header) if len(answer.header.arms) <= _REMEMBERED else _head(ANSWER_MAGIC, answer.header)
    return head + answer.values.astype("<f4", copy=False).tobytes()


def decode_answer(body: bytes) -> Answer:
    """Read the binary body of an answer.

    Raises:
        BadInputError: the body is not an answer.
    """
    header, offset = _unframe(ANSWER_MAGIC, body, _answer_header_decoder)
    parts = 1 if header.challenger is None else 3
    rows = (len(body) - offset) // (parts * 4 * len(CLASSES))
    if header.arms and (header.challenger is None or len(header.arms) != rows or max(header.arms) >= len(ARMS)):
        raise BadInputError(f"header: arms {header.arms[:8].hex()} of {len(header.arms)} rows do not fit {rows} rows")
    return Answer(header, _floats(body, offset, (parts, rows, len(CLASSES))))


def decode_json_request(body: bytes) -> PredictionRequest:
    """Read the JSON body of a request.

    Raises:
        BadInputError: the body is no such JSON or the nested list is ragged, in one clear line.
    """
    try:
        document = _json_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"request body: {one_line(str(error))}") from None
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, as in the binary form
            features = np.array(document.features, dtype=np.float32)
    except (ValueError, OverflowError):
        raise BadInputError("features is ragged: every instrument needs the same rows of the same length") from None
    if features.ndim != 3 or 0 in features.shape:
        raise BadInputError(f"features has shape {features.shape}, expected [instruments][rows][features]")
    return _checked(
        PredictionRequest(
            document.strategy,
            document.time_ns,
            document.instruments,
            document.decision_ids,
            document.feature_digest,
            features,
        )
    )


def encode_json_answer(request: PredictionRequest, answer: Answer) -> bytes:
    """Return the JSON body of an answer."""
    header = answer.header
    champion = (header.model_name, header.model_version, header.model_digest, header.revision)
    if header.challenger is None:
        rows = zip(request.decision_ids, request.instruments, answer.probabilities.tolist(), strict=True)
        plain = [JsonPrediction(decision_id, instrument, *values) for decision_id, instrument, values in rows]
        return _json_encoder.encode(JsonAnswer(*champion, plain))
    predictions = [
        JsonPrediction(
            one.decision_id,
            one.instrument,
            one.probability_short,
            one.probability_flat,
            one.probability_long,
            Arm(one.arm),
            tuple(
                JsonAlternative(Arm(other.arm), other.probability_short, other.probability_flat, other.probability_long)
                for other in one.alternatives
            ),
        )
        for one in answer.predictions(request, AnsweredBy.SERVE)
    ]
    versions = tuple(
        JsonVersion(arm, name.model_name, name.model_version, name.model_digest)
        for arm, name in ((Arm.CHAMPION, header.champion), (Arm.CHALLENGER, header.challenger))
    )
    return _json_encoder.encode(JsonAnswer(*champion, predictions, versions))


def _checked(request: PredictionRequest) -> PredictionRequest:
    count = len(request.instruments)
    if not 1 <= count <= MAXIMUM_ROWS:
        raise BadInputError(f"{count} instruments in one request: send 1 to {MAXIMUM_ROWS}")
    if len(request.decision_ids) != count or request.features.shape[0] != count:
        raise BadInputError(
            f"{count} instruments, {len(request.decision_ids)} decision_ids and {request.features.shape[0]} feature "
            "windows: the three must be equal"
        )
    return request


@lru_cache(maxsize=1024)
def _answer_head(header: AnswerHeader) -> bytes:
    """Return the head of an answer: the same at every step while the instruments keep their arms."""
    return _head(ANSWER_MAGIC, header)


def _head(magic: bytes, header: msgspec.Struct) -> bytes:
    """Return everything of a frame before its numbers."""
    head = _encoder.encode(header)
    return b"".join((_PREFIX.pack(magic, len(head)), head, bytes(-(_PREFIX.size + len(head)) % _ALIGNMENT)))


def _unframe(magic: bytes, body: bytes, decoder: "msgspec.msgpack.Decoder[Header]") -> tuple[Header, int]:
    if len(body) < _PREFIX.size:
        raise BadInputError(f"body of {len(body)} bytes is too short for a header")
    found, length = _PREFIX.unpack_from(body)
    if found != magic:
        raise BadInputError(f"body begins with {found!r}, expected {magic!r}")
    end = _PREFIX.size + length
    if end > len(body):
        raise BadInputError(f"header of {length} bytes does not fit into a body of {len(body)} bytes")
    try:
        header = decoder.decode(memoryview(body)[_PREFIX.size : end])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"header: {one_line(str(error))}") from None
    return header, end + (-end % _ALIGNMENT)


def _floats(body: bytes, offset: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    wanted = 4
    for size in shape:
        wanted *= size  # python integers: a hostile header cannot overflow them
    if len(body) - offset != wanted:
        raise BadInputError(f"{max(len(body) - offset, 0)} bytes of numbers, expected {wanted} for shape {shape}")
    values: NDArray[Any] = np.frombuffer(body, dtype="<f4", offset=offset)
    return values.reshape(shape)
