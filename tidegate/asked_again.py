"""The policies of a recorded session, carried out again: every prediction by the versions and the arms it names.

A prediction names the revision of the policy it was made under, and the store keeps every policy: versions, arms and
weights follow from it. Sessions from before policies were kept are asked again with the one model they name.
"""

from collections.abc import Iterable
from pathlib import Path

from core.domain import AnsweredBy, Prediction, PredictionRequest
from core.errors import BadInputError
from core.journal import read_entries
from serving.predictor import ServedPolicy, ServedVersion
from serving.release.evidence import VerifiedPackage, verify_package
from serving.store import ModelStore, Pointer
from serving.traffic.pointer import blend_digest
from serving.traffic.policy import Arm
from trading import records


class PoliciesAgain:
    """A ``core.domain.Predictor`` that answers each request under the policy of its time."""

    def __init__(self, policies: dict[int, ServedPolicy], revisions: dict[int, int]) -> None:
        """``revisions`` is the policy's revision by decision time."""
        self._policies = policies
        self._revisions = revisions

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        """Answer as it was answered then."""
        policy = self._policies[self._revisions[request.time_ns]]
        return policy.answer(request).predictions(request, AnsweredBy.LOCAL)


def policies_again(state: Path, folder: Path) -> PoliciesAgain:
    """Return what answers the requests of a session again, from the local store.

    Args:
        state: the state directory.
        folder: of the session.

    Raises:
        BadInputError: the store does not have a model of the session, or neither policies nor a single model say who
            answered.
        IntegrityError: a package or a policy in the store does not hold.
    """
    store = ModelStore(state / "serving")
    strategy = ""
    revisions: dict[int, int] = {}
    named: dict[int, set[tuple[str, str]]] = {}
    for entry in read_entries(folder / "journal"):
        if entry.kind not in ("session_opened", "predictions"):
            continue
        record = records.decode(entry)
        if isinstance(record, records.SessionOpened):
            strategy = record.strategy
        elif isinstance(record, records.PredictionsMade):
            for prediction in record.predictions:
                revisions[record.time_ns] = prediction.policy_revision
                models = named.setdefault(prediction.policy_revision, set())
                models.add((prediction.model_digest, prediction.model_version))
    loaded: dict[str, VerifiedPackage] = {}
    policies: dict[int, ServedPolicy] = {}
    for revision, models in named.items():
        pointer = store.policy_at(strategy, revision)
        if pointer is None or not {digest for digest, _ in models} <= _digests(pointer):
            return PoliciesAgain(_one_model(store, strategy, named), revisions)
        policies[revision] = _served(store, pointer, loaded)
    return PoliciesAgain(policies, revisions)


def _digests(pointer: Pointer) -> set[str]:
    """The digests that predictions of a policy may carry; those of another store's policy are others."""
    digests = [standing.model_digest for standing in pointer.standings]
    return {*digests, blend_digest(*digests)} if len(digests) == 2 else set(digests)


def _served(store: ModelStore, pointer: Pointer, loaded: dict[str, VerifiedPackage]) -> ServedPolicy:
    found: list[ServedVersion | None] = []
    for arm in (Arm.CHAMPION, Arm.CHALLENGER):
        standing = next(iter(pointer.standing(arm)), None)
        if standing is not None and standing.evidence_digest not in loaded:
            loaded[standing.evidence_digest] = store.load(pointer, arm)
        found.append(standing and ServedVersion(loaded[standing.evidence_digest], standing.version))
    return ServedPolicy(pointer.strategy, pointer.revision, found[0], found[1], traffic=pointer.traffic)


def _one_model(store: ModelStore, strategy: str, named: dict[int, set[tuple[str, str]]]) -> dict[int, ServedPolicy]:
    """Return the one model that a session names, for all its revisions."""
    models = {model for group in named.values() for model in group}
    if len(models) != 1:
        raise BadInputError(
            f"the session has predictions of {len(models)} models, and the local store does not have the policies "
            "they were made under: they cannot be made again"
        )
    ((digest, version),) = models
    package = next((one for one in _packages(store.root / strategy) if one.model_digest == digest), None)
    if package is None:
        raise BadInputError(f"the local store has no model {digest[:12]} of {strategy}: it cannot be asked again")
    return {revision: ServedPolicy(strategy, revision, ServedVersion(package, version)) for revision in named}


def _packages(folder: Path) -> Iterable[VerifiedPackage]:
    return (verify_package(path) for path in sorted((folder / "packages").glob("*")))
