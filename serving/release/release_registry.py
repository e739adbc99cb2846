"""What people see of a release in the MLflow registry: three aliases of the model and the tags of the version."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from core.errors import UnavailableError
from serving.release.publish import CHAMPION_ALIAS
from serving.release.states import Release, ReleaseState, TransitionRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER_ALIAS = "challenger"  # trades a share of the decisions
SHADOW_ALIAS = "shadow"  # is scored and never traded
_LONGEST_TAG = 4000  # characters; the registry takes 8,000 in a version's tag and 5,000 in older ones
Result = TypeVar("Result")


def aliases_of(champion_version: str, open_release: Release | None) -> dict[str, str]:
    """Return which version each alias should name; one that is missing should not be there."""
    wanted = {CHAMPION_ALIAS: champion_version} if champion_version else {}
    if open_release is not None and open_release.state is ReleaseState.SHADOW:
        wanted[SHADOW_ALIAS] = open_release.version
    if open_release is not None and open_release.state is ReleaseState.CANARY:
        wanted[CHALLENGER_ALIAS] = open_release.version
    return wanted


def set_aliases(client: "MlflowClient", model_name: str, wanted: dict[str, str]) -> None:
    """Make the three aliases of a model name what they should.

    Raises:
        UnavailableError: MLflow does not answer or refuses.
    """
    model = _ask(lambda: client.get_registered_model(model_name))
    present = {name: str(version) for name, version in model.aliases.items()}
    for alias in (CHAMPION_ALIAS, CHALLENGER_ALIAS, SHADOW_ALIAS):
        version = wanted.get(alias)
        if version is not None and present.get(alias) != version:
            _ask(lambda a=alias, v=version: client.set_registered_model_alias(model_name, a, v))
        elif version is None and alias in present:
            _ask(lambda a=alias: client.delete_registered_model_alias(model_name, a))


def set_tags(client: "MlflowClient", model_name: str, release: Release, tags: dict[str, str]) -> None:
    """Set tags of a release's version, those that differ.

    Raises:
        UnavailableError: MLflow does not answer or refuses.
    """
    version = _ask(lambda: client.get_model_version(model_name, release.version))
    for name, value in tags.items():
        if version.tags.get(name) != value:
            _ask(lambda n=name, v=value: client.set_model_version_tag(model_name, release.version, n, v))


def tags_of(release: Release, history: Sequence[TransitionRecord], revision: int) -> dict[str, str]:
    """Return the tags ``release.…`` of a version: where it stands, since when, why, and how it came there."""
    return {
        "release.id": release.release_id,
        "release.state": release.words,
        "release.since": moment(release.entered_ns),
        "release.reason": history[-1].reason[:_LONGEST_TAG],
        "release.by": history[-1].actor,
        "release.policy_revision": str(revision),
        "release.timeline": timeline(history),
    }


def timeline(history: Sequence[TransitionRecord], longest: int = _LONGEST_TAG) -> str:
    """Return a release's transitions as lines for people; of one that is too long the last lines."""
    lines = [f"{moment(r.time_ns)}  {r.before or 'new'} → {state_words(r)}  by {r.actor}: {r.reason}" for r in history]
    while len(lines) > 1 and sum(map(len, lines)) + len(lines) > longest:
        lines.pop(0)
    return "\n".join(lines)[:longest]


def state_words(record: TransitionRecord) -> str:
    """Return the state a record leads to, with the canary's step."""
    return f"canary step {record.step + 1}" if record.after is ReleaseState.CANARY else str(record.after)


def moment(time_ns: int) -> str:
    """Return a time as people read it, UTC to the second."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")


def _ask(call: Callable[[], Result]) -> Result:
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnavailableError(f"the model registry could not be told of the release: {line}") from error
