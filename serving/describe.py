"""What the application says about itself to outsiders: OpenAPI 3.1 and a page a person can read."""

from html import escape
from typing import Any

import msgspec

from serving.codec import BINARY, JSON, MAXIMUM_BODY, MAXIMUM_ROWS, JsonAnswer, JsonRequest
from serving.codec import __doc__ as body_layout
from serving.predictor import ServedPolicy
from serving.store import Pointer


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not answered, in one line."""

    error: str


class ChallengerState(msgspec.Struct, frozen=True):
    """The second version of a policy; ``loaded`` says whether it answers here."""

    version: str
    model_name: str
    model_digest: str
    scope: str
    loaded: bool


class ModelState(msgspec.Struct, frozen=True):
    """What answers for one strategy; the fields of the version are the champion's, empty in a flat policy without."""

    strategy: str
    version: str
    model_name: str
    model_digest: str
    evidence_digest: str
    scope: str  # paper or live
    revision: int
    feature_digest: str
    lookback: int
    features: tuple[str, ...]
    mode: str  # of the traffic policy
    share: float  # of the decisions that are the challenger's
    flat: str  # why nobody answers; empty: somebody does
    challenger: ChallengerState | None


class State(msgspec.Struct, frozen=True):
    """Whether the application can answer, with what, and what could not be loaded (strategy to reason)."""

    status: str
    models: tuple[ModelState, ...]
    failures: dict[str, str]


def model_state(policy: ServedPolicy, pointer: Pointer) -> ModelState:
    """Return the state of a policy from what is loaded and what was asked for."""
    manifest = policy.champion.package.manifest if policy.champion else None
    second = pointer.challenger
    return ModelState(
        strategy=policy.strategy,
        version=pointer.version,
        model_name=manifest.name if manifest else "",
        model_digest=pointer.model_digest,
        evidence_digest=pointer.evidence_digest,
        scope=pointer.approval.scope if pointer.approval else "",
        revision=policy.revision,
        feature_digest=manifest.feature_digest if manifest else "",
        lookback=manifest.lookback if manifest else 0,
        features=manifest.features if manifest else (),
        mode=policy.traffic.mode,
        share=policy.traffic.share,
        flat=policy.flat,
        challenger=second
        and ChallengerState(
            version=second.version,
            model_name=second.model_name,
            model_digest=second.model_digest,
            scope=second.approval.scope,
            loaded=policy.challenger is not None,
        ),
    )


PROBLEMS = {
    400: "The body is malformed; the error names the field.",
    404: "No such path.",
    405: "The path has another method.",
    409: "The features are not those the served model was made for, or the strategy is flat: nobody answers.",
    413: f"The body is larger than {MAXIMUM_BODY} bytes.",
    415: f"The content type is neither {BINARY} nor {JSON}.",
    500: "The model failed.",
    503: "There is no verified model for the strategy.",
}


def openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of the application."""
    types = (JsonRequest, JsonAnswer, Problem, State)
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")

    def content(name: str) -> dict[str, Any]:
        return {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    def problems(*codes: int) -> dict[str, Any]:
        return {str(code): {"description": PROBLEMS[code], "content": content("Problem")} for code in codes}

    def read(summary: str, media: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"get": {"summary": summary, "responses": {"200": {"description": "OK", "content": media}, **more}}}

    binary = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
    not_ready = {"503": {"description": "No verified model answers.", "content": content("State")}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate predictions",
            "version": "1",
            "description": "Calibrated probabilities of approved FX models. Binary bodies:\n\n" + (body_layout or ""),
        },
        "paths": {
            "/v1/predict": {
                "post": {
                    "summary": f"Ask the policy of a strategy, 1 to {MAXIMUM_ROWS} instruments at one decision time",
                    "requestBody": {"required": True, "content": {**content("JsonRequest"), **binary}},
                    "responses": {
                        "200": {
                            "description": "In the form of the request.",
                            "content": content("JsonAnswer") | binary,
                        },
                        **problems(400, 409, 413, 415, 500, 503),
                    },
                }
            },
            "/v1/echo": {
                "post": {
                    "summary": "Return the body: what the way there and back costs without a prediction",
                    "requestBody": {"required": True, "content": binary},
                    "responses": {"200": {"description": "The body.", "content": binary}, **problems(413)},
                }
            },
            "/healthz": read("Make a real prediction with every champion", content("State"), **not_ready),
            "/readyz": read("Say which verified models are loaded", content("State"), **not_ready),
            "/metrics": read("Prometheus metrics", {"text/plain": {"schema": {"type": "string"}}}),
            "/openapi.json": read("This description", {JSON: {"schema": {"type": "object"}}}),
            "/docs": read("This description as a page", {"text/html": {"schema": {"type": "string"}}}),
        },
        "components": {"schemas": components},
    }


def page() -> str:
    """Return the description as one HTML page that needs nothing from elsewhere."""
    description = openapi()
    rows = "".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(operation['summary'])}</td></tr>"
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(
        f"<h3>{escape(name)}</h3><pre>{escape(msgspec.json.format(msgspec.json.encode(schema)).decode())}</pre>"
        for name, schema in sorted(description["components"]["schemas"].items())
    )
    title = escape(description["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:16px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td{padding:.2rem 1rem .2rem 0}pre{background:#f4f4f4;padding:1rem;overflow:auto}</style>"
        f"<h1>{title}</h1><table>{rows}</table><h2>Binary bodies</h2><pre>{escape(body_layout or '')}</pre>"
        f'<h2>JSON bodies</h2>{schemas}<p>Machine-readable: <a href="openapi.json">openapi.json</a></p></html>'
    )
