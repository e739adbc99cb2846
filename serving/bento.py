"""Build a Bento from a verified package: the model, its evidence and the code that answers, ready to serve anywhere."""

import os
import shutil
import tempfile
from importlib.metadata import version as installed_version
from pathlib import Path

import core
import serving
from core.errors import BadInputError, UnavailableError
from serving.release.evidence import PACKAGE_FILES, VerifiedPackage

# What serving.bento_service and the modules it imports need; bentoml brings itself.
REQUIREMENTS = ("msgspec", "numpy", "onnxruntime", "orjson", "pydantic-settings", "structlog")


def build_bento(package: VerifiedPackage, name: str, home: Path) -> str:
    """Build the Bento ``name`` from a package and return its tag ``name:version``.

    The version is the start of the evidence digest: the same package gives the same tag, and a Bento that is there
    already is returned as it is.

    Args:
        package: a verified package.
        name: of the Bento, such as the registered model's.
        home: BentoML's home, ``<state>/bentoml``; serve with ``BENTOML_HOME=<home> bentoml serve <tag>``.

    Raises:
        BadInputError: bentoml is not installed.
        UnavailableError: it could not build.
    """
    home = home.absolute()
    for folder in ("bentos", "models", "tmp"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    os.environ["BENTOML_HOME"] = str(home)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    try:
        import bentoml
        from bentoml._internal.bento.bento import BentoStore
    except ImportError as error:
        raise BadInputError(f"BentoML is not installed ({error}): pip install 'tidegate[training]'") from None

    tag = f"{name.lower()}:{package.evidence_digest[:16]}"
    store = BentoStore(home / "bentos")  # explicit: BentoML may have been imported with another home
    if any(str(bento.tag) == tag for bento in store.list()):
        return tag
    manifest = package.manifest
    with tempfile.TemporaryDirectory(prefix="tidegate-bento-") as context:
        _copy_context(package, Path(context))
        try:
            bento = bentoml.build(
                "serving.bento_service:Predictions",
                name=name.lower(),
                version=package.evidence_digest[:16],
                labels={
                    "market": manifest.market[:63],
                    "model": manifest.name[:63],
                    "model_digest": manifest.model_digest[:63],
                    "gate": "passed" if package.evidence.verdict.passed else "failed",
                },
                description=f"{manifest.name} of {manifest.strategy}; evidence {package.evidence_digest}",
                include=["core/**", "serving/**", "package/**"],
                python={
                    "packages": [f"{item}=={installed_version(item)}" for item in REQUIREMENTS],
                    "lock_packages": False,  # exact already; locking would ask the package index
                },
                build_ctx=context,
                _bento_store=store,
            )
        except bentoml.exceptions.BentoMLException as error:
            raise UnavailableError(f"the Bento {tag} could not be built: {str(error).splitlines()[0]}") from error
    return str(bento.tag)


def _copy_context(package: VerifiedPackage, context: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "*.nbi", "*.nbc")
    for room in (core, serving):
        assert room.__file__ is not None
        source = Path(room.__file__).parent
        shutil.copytree(source, context / source.name, ignore=ignore)
    for name in PACKAGE_FILES:
        (context / "package").mkdir(exist_ok=True)
        shutil.copy(package.folder / name, context / "package" / name)
