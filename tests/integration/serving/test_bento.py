"""A Bento built from a package answers what the package says, in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from serving_packages import verified

from serving.bento import build_bento

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]


TOKEN = "a-token-for-the-bento"


def post(url: str, body: Any, token: str = TOKEN) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_served_bento_answers_the_warmup_vectors(tmp_path: Path) -> None:
    package = verified(tmp_path / "package", bias=0.5)
    home = tmp_path / "bentoml"
    tag = build_bento(package, "tidegate-test", home)
    assert tag == f"tidegate-test:{package.evidence_digest[:16]}"
    built = (home / "bentos" / tag.replace(":", "/") / "bento.yaml").stat().st_mtime_ns
    assert build_bento(package, "tidegate-test", home) == tag
    assert (home / "bentos" / tag.replace(":", "/") / "bento.yaml").stat().st_mtime_ns == built

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    environment["TIDEGATE_SERVING__TOKEN"] = TOKEN
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    processes = [psutil.Process(process.pid)]
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                    break
            except OSError:
                time.sleep(0.1)
        processes += processes[0].children(recursive=True)
        inputs = [
            [[None if np.isnan(v) else v for v in row] for row in w] for w in package.session.warmup_inputs.tolist()
        ]
        status, answer = post(f"{url}/predict", {"features": inputs})
        assert status == 200
        assert post(f"{url}/predict", {"features": inputs}, "another-token-than-that")[0] == 401
        # The very numbers of the same file in this process: a float32 passes through JSON unchanged.
        expected = package.session.run(package.session.warmup_inputs)
        assert np.array_equal(np.array(answer["probabilities"], np.float32), expected)
        assert np.allclose(expected, package.session.warmup_outputs, atol=1e-6)
        assert answer["model_digest"] == package.model_digest
        for bad in ([[[1.0]]], [[[1.0], [1.0, 2.0]]], "text"):
            status, _ = post(f"{url}/predict", {"features": bad})
            assert status == 400
        status, model = post(f"{url}/model", {})
        assert (status, model["evidence_digest"]) == (200, package.evidence_digest)
    finally:
        process.terminate()
        process.wait(30)
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert alive == []
