"""The ASGI application without Ray, over real HTTP (uvicorn): routes, limits, one clear line for each mistake."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import msgspec
import numpy as np
import pytest
import uvicorn
from serving_packages import put_in_store, request_for, verified

from core.domain import PredictionRequest
from core.settings import ServingSettings
from serving import codec
from serving.application import build_asgi
from serving.limits import Limits
from serving.release.evidence import VerifiedPackage
from serving.store import ModelStore


@contextlib.asynccontextmanager
async def serving(root: Path) -> AsyncIterator[aiohttp.ClientSession]:
    config = uvicorn.Config(
        build_asgi(root, 0.05, Limits.of(ServingSettings()), None),
        host="127.0.0.1",
        port=0,
        log_level="error",
        lifespan="on",
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession(url) as session:
        yield session
    server.should_exit = True
    await task


@pytest.fixture
def package(tmp_path: Path) -> VerifiedPackage:
    package = verified(tmp_path / "package")
    put_in_store(ModelStore(tmp_path / "serving"), package, "7")
    return package


def json_body(request: PredictionRequest, **changes: Any) -> dict[str, Any]:
    return {
        "strategy": request.strategy,
        "time_ns": request.time_ns,
        "instruments": list(request.instruments),
        "decision_ids": list(request.decision_ids),
        "feature_digest": request.feature_digest,
        "features": request.features.tolist(),
    } | changes


async def test_binary_and_json_give_the_models_answers(tmp_path: Path, package: VerifiedPackage) -> None:
    async with serving(tmp_path / "serving") as http:
        for rows in (1, 3, 500):  # inline and in a thread
            request = request_for(package, rows)
            expected = package.session.run(request.features)
            headers = {"content-type": codec.BINARY}
            async with http.post("/v1/predict", data=codec.encode_request(request), headers=headers) as response:
                assert response.status == 200
                answer = codec.decode_answer(await response.read())
            assert np.array_equal(answer.probabilities, expected)
            assert (answer.header.model_version, answer.header.model_digest) == ("7", package.model_digest)
            async with http.post("/v1/predict", json=json_body(request)) as response:
                assert response.status == 200
                document = msgspec.json.decode(await response.read(), type=codec.JsonAnswer)
            long = np.array([p.probability_long for p in document.predictions], np.float32)
            assert np.array_equal(long, expected[:, 2])
            assert [p.decision_id for p in document.predictions] == list(request.decision_ids)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"strategy": 5}, 400, "strategy"),
        ({"strategy": "nobody"}, 503, "no verified model"),
        ({"feature_digest": "0" * 64}, 409, "made for"),
        ({"features": [[[1.0]]]}, 400, "must be equal"),
        ({"features": [[[1.0, 2.0]] * 2] * 3}, 409, "needs float32"),
        ({"features": [[[1.0, "2"]]]}, 400, "features"),
        ({"features": [[[1.0], [1.0, 2.0]]]}, 400, "ragged"),
        ({"features": []}, 400, "shape"),
        ({"time_ns": 1.5}, 400, "time_ns"),
        ({"time_ns": True}, 400, "time_ns"),
        ({"instruments": "EUR_USD"}, 400, "instruments"),
        ({"surplus": 1}, 400, "surplus"),
    ],
)
async def test_bad_requests_get_one_clear_line(
    tmp_path: Path, package: VerifiedPackage, changes: dict[str, Any], status: int, words: str
) -> None:
    async with serving(tmp_path / "serving") as http:
        async with http.post("/v1/predict", json=json_body(request_for(package), **changes)) as response:
            answer = await response.json()
    assert (response.status, list(answer)) == (status, ["error"])
    assert words in answer["error"]
    assert "\n" not in answer["error"]


async def test_paths_methods_types_and_sizes_are_checked(tmp_path: Path, package: VerifiedPackage) -> None:
    body = codec.encode_request(request_for(package))
    large = b"x" * (codec.MAXIMUM_BODY + 1)

    async def chunks() -> AsyncIterator[bytes]:  # no content-length to look at
        for start in range(0, len(large), 1 << 20):
            yield large[start : start + (1 << 20)]

    cases: list[tuple[str, str, Any, str, int]] = [
        ("POST", "/nothing", body, codec.BINARY, 404),
        ("GET", "/v1/predict", None, codec.BINARY, 405),
        ("POST", "/healthz", body, codec.BINARY, 405),
        ("POST", "/v1/predict", body, "text/plain", 415),
        ("POST", "/v1/predict", b"", codec.BINARY, 400),
        ("POST", "/v1/predict", b"{", codec.JSON, 400),
        ("POST", "/v1/predict", b"\xff", codec.JSON, 400),
        ("POST", "/v1/predict", body[:-1], codec.BINARY, 400),
        ("POST", "/v1/predict", large, codec.BINARY, 413),
        ("POST", "/v1/predict", chunks(), codec.BINARY, 413),
    ]
    async with serving(tmp_path / "serving") as http:
        for method, path, data, kind, status in cases:
            async with http.request(method, path, data=data, headers={"content-type": kind}) as response:
                assert (path, response.status) == (path, status)
                assert list(await response.json()) == ["error"]


async def test_health_readiness_and_metrics_follow_the_models(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    async with serving(store.root) as http:
        for path in ("/healthz", "/readyz"):
            async with http.get(path) as response:
                assert response.status == 503
                assert (await response.json())["models"] == []
        package = verified(tmp_path / "package")
        put_in_store(store, package, "7")
        async with asyncio.timeout(10):
            while (await http.get("/readyz")).status != 200:  # noqa: ASYNC110 - polling is what a probe does
                await asyncio.sleep(0.02)
        async with http.get("/healthz") as response:
            state = await response.json()
        assert state["status"] == "ok"
        assert state["models"][0]["version"] == "7"
        assert state["models"][0]["scope"] == "paper"
        body = codec.encode_request(request_for(package))
        await http.post("/v1/predict", data=body, headers={"content-type": codec.BINARY})
        async with http.get("/metrics") as response:
            text = await response.text()
    assert 'tidegate_serving_requests_total{status="200"} 1.0' in text
    assert 'tidegate_serving_rows_total{strategy="tidegate-test"} 3.0' in text
    assert "tidegate_serving_champion_revision" in text


async def test_a_tampered_version_is_not_served(tmp_path: Path, package: VerifiedPackage) -> None:
    store = ModelStore(tmp_path / "serving")
    folder = store.package_folder("tidegate-test", package.evidence_digest)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(bytes(content))
    async with serving(store.root) as http:
        async with http.get("/readyz") as response:
            state = await response.json()
        assert response.status == 503
        assert "the digest of model.onnx is" in state["failures"]["tidegate-test"]
        headers = {"content-type": codec.BINARY}
        body = codec.encode_request(request_for(package))
        async with http.post("/v1/predict", data=body, headers=headers) as response:
            assert response.status == 503


async def test_the_description_is_valid_and_true(tmp_path: Path, package: VerifiedPackage) -> None:
    async with serving(tmp_path / "serving") as http:
        async with http.get("/openapi.json") as response:
            description = await response.json()
        assert description["openapi"].startswith("3.1")
        schemas = description["components"]["schemas"]
        documents = {
            "JsonRequest": json_body(request_for(package)),
            "JsonAnswer": await (await http.post("/v1/predict", json=json_body(request_for(package)))).json(),
            "State": await (await http.get("/readyz")).json(),
            "Problem": await (await http.get("/nothing")).json(),
        }
        for name, document in documents.items():
            schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
            jsonschema.Draft202012Validator.check_schema(schemas[name])
            jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                assert operation["responses"]["200"]["description"]
                if method == "get":
                    async with http.get(path) as response:
                        assert response.status == 200
                        assert response.content_type in operation["responses"]["200"]["content"]
        async with http.get("/docs") as response:
            page = await response.text()
    assert "/v1/predict" in page
    assert "http" not in page.replace("HTTP", "")  # nothing is loaded from elsewhere
