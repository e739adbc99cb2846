"""The trader's client of the Ray Serve application: keep-alive HTTP, binary bodies, one budget for everything."""

import asyncio
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from pydantic import SecretStr

from core.domain import AnsweredBy, Prediction, PredictionRequest
from core.errors import BadInputError, RefusedError, UnavailableError
from serving.authentication import authorization
from serving.codec import BINARY, decode_answer, encode_request

_HEADERS = {
    "Content-Type": BINARY,
    # Spares the replica a task per request that waits for our going away; a tenth of the hop.
    "x-request-disconnect-disabled": "?1",
}


class ServeClient:
    """A ``core.domain.Predictor`` over the Serve ingress. Use it as an async context manager in the trader's loop."""

    def __init__(self, url: str, timeout_seconds: float, token: SecretStr | None = None) -> None:
        """Name the service.

        Args:
            url: of the Serve ingress.
            timeout_seconds: the whole budget of a prediction: connecting, sending, answering, repeating.
            token: of a service that asks for one (``TIDEGATE_SERVING__TOKEN``).
        """
        self._headers = _HEADERS | authorization(token)
        self._url = f"{url.rstrip('/')}/v1/predict"
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        """Answer in the order of ``request.instruments``.

        Raises:
            UnavailableError: no answer in the budget, or the service cannot answer.
            RefusedError: the served model was made for other features.
            BadInputError: the service did not understand the request.
        """
        body = encode_request(request)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                try:
                    status, content = await self._post(body)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    # A kept connection that the other side had closed: a prediction changes nothing, so once more,
                    # within the same budget.
                    status, content = await self._post(body)
        except TimeoutError:
            raise UnavailableError(f"{self._url} gave no answer in {self._timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(f"{self._url} does not answer: {error}") from None
        if status != 200:
            raise _failure(self._url, status, content)
        return self._read(request, content)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=16, keepalive_timeout=3600, ttl_dns_cache=300),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        return self._session

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        async with self._open().post(self._url, data=body) as response:
            return response.status, await response.read()

    def _read(self, request: PredictionRequest, content: bytes) -> list[Prediction]:
        try:
            answer = decode_answer(content)
        except BadInputError as error:
            raise UnavailableError(f"{self._url} answered something else than predictions: {error}") from None
        if len(answer.probabilities) != len(request.instruments):
            raise UnavailableError(
                f"{self._url} answered {len(answer.probabilities)} predictions for {len(request.instruments)} "
                "instruments"
            )
        return answer.predictions(request, AnsweredBy.SERVE)


def _failure(url: str, status: int, content: bytes) -> UnavailableError | RefusedError | BadInputError:
    """Turn an HTTP failure into the error a predictor raises."""
    try:
        reason = msgspec.json.decode(content, type=dict[str, str])["error"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        reason = content[:200].decode("utf-8", "replace")
    if status == 409:
        return RefusedError(f"{url} refused: {reason}")
    # HAProxy answers 404 while the application starts; a wrong token must not keep the local champion from answering.
    if 400 <= status < 500 and status not in (401, 404, 408, 429):
        return BadInputError(f"{url} did not take the request: {reason}")
    return UnavailableError(f"{url} answered {status}: {reason}")
