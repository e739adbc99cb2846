"""Webhooks of the registry: MLflow tells of a tag or an alias, and the watcher looks at once, not a second later.

A webhook decides nothing: it names no user, may be lost, repeated or forged; what the watcher then reads counts. Still
it is checked before anything is done for it: signature, age, and that it was not seen before.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from core.errors import BadInputError, RefusedError, UnavailableError
from core.settings import Settings
from serving.release.attached import why
from serving.release.signing import secret_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

WEBHOOK_NAME = "tidegate-reviews"
EVENTS = (
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
)
_OLDEST_SECONDS = 300.0
_KEPT = 1_000  # delivery ids: more than come in five minutes
_LONGEST_BODY = 65_536


class WebhookEvent(msgspec.Struct, frozen=True):
    """What MLflow tells of."""

    entity: str
    action: str
    data: dict[str, Any]


class WebhookReceiver:
    """Checks deliveries with the secret that was given to MLflow."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._secret = webhook_secret(settings)
        self._clock = clock
        self._seen: OrderedDict[str, None] = OrderedDict()

    def receive(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """Check one delivery and return what it tells of.

        Args:
            headers: of the request; names in any case.
            body: as it came.

        Raises:
            RefusedError: the signature does not hold, the delivery is too old, or came before.
            BadInputError: the body is none of MLflow's.
        """
        given = {name.lower(): value for name, value in headers.items()}
        delivery, moment = given.get("x-mlflow-delivery-id", ""), given.get("x-mlflow-timestamp", "")
        signature = given.get("x-mlflow-signature", "")
        if len(body) > _LONGEST_BODY:
            raise BadInputError(f"a webhook of {len(body)} bytes is none of MLflow's")
        expected = hmac.new(self._secret, b".".join((delivery.encode(), moment.encode(), body)), hashlib.sha256)
        wanted = "v1," + base64.b64encode(expected.digest()).decode()
        # Compared in constant time, and before anything of the request is believed.
        if not delivery or not hmac.compare_digest(signature.encode(), wanted.encode()):
            raise RefusedError("a webhook whose signature does not hold was refused: it is not from this registry")
        if not moment.isdecimal() or abs(self._clock() - int(moment)) > _OLDEST_SECONDS:
            raise RefusedError(f"a webhook of the time {moment} was refused: it is too old, or the clocks differ")
        if delivery in self._seen:
            raise RefusedError(f"webhook {delivery} came a second time")
        self._seen[delivery] = None
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        try:
            return msgspec.json.decode(body, type=WebhookEvent)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadInputError(f"the body of webhook {delivery} is none of MLflow's: {error}") from None


def webhook_secret(settings: Settings) -> bytes:
    """Return the secret that MLflow signs with, made once."""
    return secret_file(settings.state / "keys" / "mlflow-webhook.secret", secrets.token_hex(32).encode())


def ensure_webhook(client: "MlflowClient", settings: Settings) -> str | None:
    """Register the platform's webhook where the settings name an address; return its id, None where they do not.

    Raises:
        UnavailableError: MLflow does not answer, or cannot keep webhooks.
    """
    from mlflow.entities.webhook import WebhookEvent as Event
    from mlflow.exceptions import MlflowException

    url = settings.mlflow.webhook_url
    if url is None:
        return None
    try:
        for webhook in client.list_webhooks(max_results=100):
            if webhook.name == WEBHOOK_NAME:
                if webhook.url != url:
                    client.update_webhook(webhook.webhook_id, url=url)
                return str(webhook.webhook_id)
        made = client.create_webhook(
            name=WEBHOOK_NAME,
            url=url,
            events=[Event.from_str(event) for event in EVENTS],
            description="Wakes the watcher of reviews.",
            secret=webhook_secret(settings).decode(),
        )
    except (MlflowException, json.JSONDecodeError) as error:
        raise UnavailableError(f"MLflow cannot be asked to tell of reviews: {why(error)}; they are polled") from error
    return str(made.webhook_id)
