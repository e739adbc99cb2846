"""The HTTP face of the predictor: a raw ASGI application.

Raw ASGI because the hop is the budget. Measured on one replica behind HAProxy, echo of 2 kB, median of three turns:
this dispatch 0.60 ms, a Starlette route 0.63 ms, a FastAPI route 0.69 ms, before any validation.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from core.domain import PredictionRequest
from core.errors import BadInputError, IntegrityError, RefusedError
from core.logging import get_logger
from serving import codec
from serving.describe import Problem, State, model_state, openapi, page
from serving.loader import ChampionLoader
from serving.predictor import Answer, FlatError, NoModelError, PredictorCore
from serving.traffic.exposition import ArmCollector

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_INLINE_ROWS = 64  # more rows than this are predicted in a thread, so that a backfill does not delay a decision
_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_JSON_ENCODER = msgspec.json.Encoder()
_log = get_logger("serving")


class _ReplyError(Exception):
    """Ends a request with a status and one line of reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class PredictionApplication:
    """ASGI application over a ``PredictorCore``; its lifespan starts and stops loader and statistics."""

    def __init__(self, core: PredictorCore, loader: ChampionLoader, registry: CollectorRegistry | None = None) -> None:
        """``registry`` holds what ``/metrics`` shows beside the application's own figures."""
        self._core = core
        self._loader = loader
        self._openapi = _JSON_ENCODER.encode(openapi())
        self._page = page().encode()
        self._registry = registry or CollectorRegistry()
        self._requests = Counter(
            "tidegate_serving_requests", "Requests to /v1/predict", ["status"], registry=self._registry
        )
        self._rows = Counter("tidegate_serving_rows", "Instruments predicted", ["strategy"], registry=self._registry)
        self._seconds = Histogram(
            "tidegate_serving_request_seconds", "Time inside the replica", registry=self._registry, buckets=_BUCKETS
        )
        self._champion = Gauge(
            "tidegate_serving_champion_revision",
            "Policy revision of the champion that answers",
            ["strategy", "version", "model_digest"],
            registry=self._registry,
        )
        self._failures = Gauge(
            "tidegate_serving_load_failures", "Policies that could not be installed whole", registry=self._registry
        )
        if core.statistics is not None:
            self._registry.register(ArmCollector(core.statistics))
        self._routes: dict[str, tuple[str, Callable[[], tuple[int, bytes, bytes]]]] = {
            "/healthz": ("GET", self._health),
            "/readyz": ("GET", self._readiness),
            "/metrics": ("GET", self._metrics),
            "/openapi.json": ("GET", lambda: (200, b"application/json", self._openapi)),
            "/docs": ("GET", lambda: (200, b"text/html; charset=utf-8", self._page)),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        # Before the first request is let in: a restarted replica answers from its disk, or says why not.
        await asyncio.to_thread(self._loader.start)
        if self._core.statistics is not None:
            self._core.statistics.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._loader.stop()
        if self._core.statistics is not None:
            self._core.statistics.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/v1/predict":
            started = time.perf_counter()
            status, kind, body = await self._predict(scope, receive)
            self._seconds.observe(time.perf_counter() - started)
            self._requests.labels(status).inc()
        elif path == "/v1/echo" and scope["method"] == "POST":
            status, kind, body = await _echo(scope, receive)
        elif path in self._routes:
            method, route = self._routes[path]
            status, kind, body = (
                route() if scope["method"] == method else _problem(405, f"{path} takes {method}, not {scope['method']}")
            )
        else:
            known = ", ".join(["/v1/predict", "/v1/echo", *self._routes])
            status, kind, body = _problem(404, f"no path {path!r}; there are {known}")
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _predict(self, scope: Message, receive: Receive) -> tuple[int, bytes, bytes]:
        try:
            if scope["method"] != "POST":
                raise _ReplyError(405, f"/v1/predict takes POST, not {scope['method']}")
            binary = _is_binary(scope)
            body = await _read_body(scope, receive)
            request = codec.decode_request(body) if binary else codec.decode_json_request(body)
            answer = await self._answer(request)
            self._rows.labels(request.strategy).inc(len(request.instruments))
            if binary:
                return 200, b"application/octet-stream", codec.encode_answer(answer)
            return 200, b"application/json", codec.encode_json_answer(request, answer)
        except _ReplyError as reply:
            return _problem(reply.status, str(reply))
        except BadInputError as error:
            return _problem(400, error.message)
        except FlatError as error:  # a decision, not a failure: nobody is to be asked in our place
            return _problem(409, error.message)
        except NoModelError as error:
            return _problem(503, error.message)
        except RefusedError as error:
            return _problem(409, error.message)
        except Exception as error:
            _log.exception("prediction failed")
            return _problem(500, f"the model failed: {str(error).splitlines()[0] if str(error) else type(error)}")

    async def _answer(self, request: PredictionRequest) -> Answer:
        if len(request.instruments) <= _INLINE_ROWS:
            return self._core.predict(request)
        return await asyncio.to_thread(self._core.predict, request)

    def _health(self) -> tuple[int, bytes, bytes]:
        try:
            self._core.check_health()
        except IntegrityError as error:
            _log.error("health check failed", reason=error.message)
            return self._state(503, error.message)
        return self._state(200, "ok")

    def _readiness(self) -> tuple[int, bytes, bytes]:
        if self._core.policies:
            return self._state(200, "ready")
        return self._state(503, "no verified model is loaded; publish one")

    def _state(self, status: int, words: str) -> tuple[int, bytes, bytes]:
        models = tuple(
            model_state(policy, self._loader.pointers[strategy])
            for strategy, policy in sorted(self._core.policies.items())
        )
        return status, b"application/json", _JSON_ENCODER.encode(State(words, models, self._loader.failures))

    def _metrics(self) -> tuple[int, bytes, bytes]:
        self._champion.clear()
        for strategy, policy in self._core.policies.items():
            if policy.champion is not None:
                name = policy.champion.name
                self._champion.labels(strategy, name.model_version, name.model_digest).set(policy.revision)
        self._failures.set(len(self._loader.failures))
        return 200, b"text/plain; version=0.0.4; charset=utf-8", generate_latest(self._registry)


async def _echo(scope: Message, receive: Receive) -> tuple[int, bytes, bytes]:
    try:
        return 200, b"application/octet-stream", await _read_body(scope, receive)
    except _ReplyError as reply:
        return _problem(reply.status, str(reply))


def _problem(status: int, reason: str) -> tuple[int, bytes, bytes]:
    return status, b"application/json", _JSON_ENCODER.encode(Problem(" ".join(reason.split())))


def _is_binary(scope: Message) -> bool:
    found = b"none"
    for name, value in scope["headers"]:
        if name == b"content-type":
            found = value.partition(b";")[0].strip().lower()
    if found == b"application/octet-stream":
        return True
    if found == b"application/json":
        return False
    raise _ReplyError(415, f"content type {found.decode('latin-1')}: send {codec.BINARY} or {codec.JSON}")


async def _read_body(scope: Message, receive: Receive) -> bytes:
    too_large = _ReplyError(413, f"body larger than {codec.MAXIMUM_BODY} bytes: send fewer instruments")
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > codec.MAXIMUM_BODY:  # the server has checked that it is a number
            raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ReplyError(400, "the client went away")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > codec.MAXIMUM_BODY:
            raise too_large
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
