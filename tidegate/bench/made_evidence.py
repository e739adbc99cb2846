"""The documents of a model made for a measurement: evidence of nothing, which says so."""

from pathlib import Path

from core.digest import digest_bytes
from serving.release.evidence import Evidence, Manifest, Rule, Verdict, VerifiedPackage, verify_package


def complete_package(folder: Path, manifest: Manifest, rule: str, words: str) -> VerifiedPackage:
    """Write manifest and evidence beside a model and its warm-up vectors, and return the package verified.

    Args:
        folder: with ``model.onnx`` and ``warmup.npz``.
        manifest: of that model.
        rule, words: of the one rule in its verdict, which says what the model was made for.
    """
    nothing = digest_bytes(b"")
    Evidence(
        model_digest=manifest.model_digest,
        manifest_digest=manifest.save(folder),
        data_digest=nothing,
        feature_digest=manifest.feature_digest,
        code_digests={},
        environment_digest=nothing,
        git_commit="",
        out_of_sample={},
        verdict=Verdict.of(Rule(rule=rule, passed=True, value=None, limit=None, words=words)),
    ).save(folder)
    return verify_package(folder)
