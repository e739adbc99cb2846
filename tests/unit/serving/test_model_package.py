"""A package is served only if every one of its claims holds."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from serving_packages import linear_model, put_in_store, verified, write_package

from core.digest import digest_file
from core.errors import BadInputError, IntegrityError
from serving.release.evidence import Evidence, Manifest, Rule, Verdict, verify_package
from serving.store import ModelStore


def rewrite(folder: Path, **changes: object) -> None:
    """Change the manifest and make the evidence fit, as somebody would who builds a package wrongly."""
    manifest = msgspec.structs.replace(Manifest.load(folder), **changes)
    digest = manifest.save(folder)
    evidence = Evidence.load(folder)
    msgspec.structs.replace(evidence, manifest_digest=digest, model_digest=manifest.model_digest).save(folder)


def test_a_whole_package_verifies_and_answers(tmp_path: Path) -> None:
    package = verified(tmp_path / "package")
    answers = package.session.run(package.session.warmup_inputs)
    assert np.allclose(answers, package.session.warmup_outputs, atol=1e-6)
    assert package.evidence_digest == digest_file(tmp_path / "package" / "evidence.json")
    assert package.manifest.digest == digest_file(tmp_path / "package" / "manifest.json")


def test_documents_come_back_as_they_were_saved(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "package")
    manifest, evidence = Manifest.load(folder), Evidence.load(folder)
    (tmp_path / "copy").mkdir()
    assert manifest.save(tmp_path / "copy") == manifest.digest
    assert evidence.save(tmp_path / "copy") == evidence.digest
    assert Manifest.load(tmp_path / "copy") == manifest
    assert Evidence.load(tmp_path / "copy") == evidence


def flipped(content: bytes) -> Iterator[bytes]:
    """Yield copies with one bit flipped, at 25 places."""
    for position in range(0, len(content), max(len(content) // 25, 1)):
        changed = bytearray(content)
        changed[position] ^= 1
        yield bytes(changed)


def test_every_flipped_bit_of_model_and_manifest_is_found(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "package")
    for name in ("model.onnx", "manifest.json"):
        original = (folder / name).read_bytes()
        for content in flipped(original):
            (folder / name).write_bytes(content)
            with pytest.raises(IntegrityError):
                verify_package(folder)
        (folder / name).write_bytes(original)
    verify_package(folder)


def test_every_flipped_bit_of_the_evidence_is_found_against_the_approval(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "serving")
    pointer = put_in_store(store, verified(tmp_path / "package"), "1")
    path = store.package_folder(pointer.strategy, pointer.evidence_digest) / "evidence.json"
    original = path.read_bytes()
    for content in flipped(original):
        path.write_bytes(content)
        with pytest.raises(IntegrityError):
            store.load(pointer)
    path.write_bytes(original)
    store.load(pointer)


def test_the_message_gives_both_digests(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "package")
    expected = digest_file(folder / "model.onnx")
    (folder / "model.onnx").write_bytes(linear_model(2, 3, bias=0.5))
    with pytest.raises(IntegrityError, match=f"{digest_file(folder / 'model.onnx')}, expected {expected}"):
        verify_package(folder)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "warmup.npz", "evidence.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_package(tmp_path / "package")
    (folder / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} is missing"):
        verify_package(folder)


def test_the_model_of_another_package_is_refused_even_with_its_manifest(tmp_path: Path) -> None:
    folder, other = write_package(tmp_path / "package"), write_package(tmp_path / "other", bias=1.0)
    for name in ("model.onnx", "manifest.json", "warmup.npz"):
        shutil.copy(other / name, folder / name)
    with pytest.raises(IntegrityError, match=r"evidence\.model_digest"):
        verify_package(folder)


def test_warmup_answers_of_another_model_are_refused(tmp_path: Path) -> None:
    folder, other = write_package(tmp_path / "package"), write_package(tmp_path / "other", bias=0.001)
    shutil.copy(other / "warmup.npz", folder / "warmup.npz")
    with pytest.raises(IntegrityError, match=r"warm-up row \d+ class \w+ answers [\d.e-]+, expected"):
        verify_package(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lookback": 1}, "input signature"),
        ({"features": ("a", "b")}, "input signature"),
        ({"features": ("a", "a", "b")}, "unique"),
        ({"classes": ("long", "flat", "short")}, "classes"),
    ],
)
def test_a_manifest_that_does_not_describe_the_graph_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = write_package(tmp_path / "package")
    rewrite(folder, **changes)
    with pytest.raises(IntegrityError, match=words):
        verify_package(folder)


def test_a_graph_with_other_names_or_no_graph_is_refused(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "package")
    for content, words in ((linear_model(2, 3, 0.0, inner="x"), "input signature"), (b"no graph", "does not load")):
        (folder / "model.onnx").write_bytes(content)
        rewrite(folder, model_digest=digest_file(folder / "model.onnx"))
        with pytest.raises(IntegrityError, match=words):
            verify_package(folder)


@pytest.mark.parametrize(
    "arrays",
    [
        {"inputs": np.zeros((0, 2, 3), np.float32), "outputs": np.zeros((0, 3))},
        {"inputs": np.zeros((2, 2, 3)), "outputs": np.zeros((2, 3))},
        {"inputs": np.zeros((2, 2, 3), np.float32), "outputs": np.zeros((2, 2))},
        {"inputs": np.zeros((2, 2, 3), np.float32)},
    ],
)
def test_malformed_warmup_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    folder = write_package(tmp_path / "package")
    np.savez(folder / "warmup.npz", **arrays)
    with pytest.raises(IntegrityError, match="warm"):
        verify_package(folder)


def test_a_verdict_that_contradicts_its_rules_is_refused(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "package", passed=False)
    evidence = Evidence.load(folder)
    lying = msgspec.structs.replace(evidence, verdict=Verdict(passed=True, rules=evidence.verdict.rules))
    lying.save(folder)
    with pytest.raises(IntegrityError, match=r"verdict\.passed is True, expected False"):
        verify_package(folder)
    assert Verdict.of().passed is False


def test_not_a_number_in_evidence_is_refused_at_writing(tmp_path: Path) -> None:
    evidence = Evidence.load(write_package(tmp_path / "package"))
    rule = Rule(rule="skill", passed=True, value=float("nan"), limit=None, words="")
    with pytest.raises(BadInputError, match=r"evidence\.json"):
        msgspec.structs.replace(evidence, verdict=Verdict.of(rule), out_of_sample={"x": float("nan")}).save(tmp_path)
    assert not (tmp_path / "evidence.json").exists()
