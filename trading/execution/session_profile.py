"""The volume profile of one session: what it says belongs to the session, and the session keeps a copy of it."""

from pathlib import Path

import msgspec

from core.errors import BadInputError
from trading.config import TraderConfig
from trading.execution.plan import Algorithm
from trading.execution.volume_profile import VolumeProfile

KEPT = "volume-profile.json"  # in the session's folder


class SessionProfile(msgspec.Struct, frozen=True):
    """A session that follows a profile, and that profile.

    Attributes:
        config: with the profile's digest, so that a session cannot go on with another one.
        profile: None where the session follows none.
    """

    config: TraderConfig
    profile: VolumeProfile | None

    @classmethod
    def read(cls, config: TraderConfig) -> "SessionProfile":
        """Read the profile that is configured, or the session's own copy where that file is gone.

        Raises:
            BadInputError: there is neither, or it is no volume profile.
        """
        if config.execution.algorithm is not Algorithm.VWAP:
            return cls(config, None)
        configured, kept = Path(config.execution.volume_profile), config.session_directory / KEPT
        profile = VolumeProfile.load(kept if kept.exists() and not configured.exists() else configured)
        return cls(msgspec.structs.replace(config, volume_profile_digest=profile.digest()), profile)

    def keep(self) -> TraderConfig:
        """Write the copy that a restart and a replay read, and return the configuration that names it.

        Call it when the session is known to be of this profile: the copy is written anew.
        """
        if self.profile is None:
            return self.config
        self.config.session_directory.mkdir(parents=True, exist_ok=True)
        self.profile.save(self.config.session_directory / KEPT)
        return reading_copy(self.config, self.config.session_directory)


def reading_copy(config: TraderConfig, session: Path) -> TraderConfig:
    """Return the configuration with the copy in the folder ``session`` as its profile.

    Raises:
        BadInputError: the copy is missing, or is not what the session began with.
    """
    if config.execution.algorithm is not Algorithm.VWAP:
        return config
    path = session / KEPT
    if config.volume_profile_digest and VolumeProfile.load(path).digest() != config.volume_profile_digest:
        raise BadInputError(f"{path} is another profile than the session was begun with: restore it")
    execution = msgspec.structs.replace(config.execution, volume_profile=str(path))
    return msgspec.structs.replace(config, execution=execution)
