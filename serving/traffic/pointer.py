"""The policy file of one strategy: which versions have a role, on which approvals, and how decisions are assigned."""

from typing import Self

import msgspec

from core.digest import digest_value
from core.errors import IntegrityError, RefusedError
from serving.release.approval import Approval, Decision
from serving.traffic.policy import CHAMPION_ONLY, Arm, Traffic


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version in a role, and the approval it stands on."""

    version: str  # of the registered model
    model_digest: str
    evidence_digest: str
    approval: Approval
    model_name: str = ""  # of the model inside, such as xgboost, as predictions carry it

    @classmethod
    def of(cls, approval: Approval, model_name: str) -> Self:
        """Return the standing of an approved version."""
        return cls(
            version=approval.version,
            model_digest=approval.model_digest,
            evidence_digest=approval.evidence_digest,
            approval=approval,
            model_name=model_name,
        )

    def check(self, strategy: str, where: str) -> None:
        """Check that the version is the approved one and the approval was not edited.

        Raises:
            IntegrityError: naming what does not match.
        """
        approval = self.approval
        claims = (strategy, self.version, self.model_digest, self.evidence_digest)
        approved = (approval.strategy, approval.version, approval.model_digest, approval.evidence_digest)
        if claims != approved or approval.decision is not Decision.APPROVED:
            raise IntegrityError(f"{where} names {claims}, its approval {approval.decision} {approved}; publish again")
        if approval.hash != approval.computed_hash():
            raise IntegrityError(f"{where}: its approval was edited; publish the version again")


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One policy. Files written before there were challengers are policies with a champion only.

    ``flat`` is why nobody answers; only then may there be no champion (``approval`` None, its fields empty).
    """

    strategy: str
    revision: int  # counts up with every change
    version: str = ""  # of the champion, as the next three
    model_digest: str = ""
    evidence_digest: str = ""
    approval: Approval | None = None
    model_name: str = ""
    challenger: Standing | None = None
    traffic: Traffic = CHAMPION_ONLY
    flat: str = ""

    @property
    def champion(self) -> Standing | None:
        """The champion; None only in a flat policy."""
        if self.approval is None:
            return None
        return Standing(
            version=self.version,
            model_digest=self.model_digest,
            evidence_digest=self.evidence_digest,
            approval=self.approval,
            model_name=self.model_name,
        )

    @property
    def standings(self) -> tuple[Standing, ...]:
        """The versions with a role: champion first."""
        return tuple(standing for standing in (self.champion, self.challenger) if standing is not None)

    def standing(self, arm: Arm) -> tuple[Standing, ...]:
        """Return the versions whose answers make up an arm; empty where the policy has no such arm."""
        if arm is Arm.BLEND:
            return self.standings if self.challenger is not None and self.champion is not None else ()
        found = self.champion if arm is Arm.CHAMPION else self.challenger
        return () if found is None else (found,)

    def check(self, strategy: str, where: str) -> None:
        """Check a policy that was read.

        Raises:
            IntegrityError: it is another strategy's, does not agree with its approvals, or cannot be carried out.
        """
        if self.strategy != strategy:
            raise IntegrityError(f"{where} is that of strategy {self.strategy!r}, not of {strategy!r}; publish again")
        champion = self.champion
        if champion is None and (not self.flat or self.version or self.model_digest or self.evidence_digest):
            raise IntegrityError(f"{where} names version {self.version!r} without an approval; publish again")
        for standing in self.standings:
            standing.check(strategy, where)
        try:
            check_roles(champion, self.challenger, self.traffic)
        except RefusedError as error:
            raise IntegrityError(f"{where}: {error.message}; publish again") from None


def check_roles(champion: Standing | None, challenger: Standing | None, traffic: Traffic) -> None:
    """Refuse roles and traffic that do not fit each other.

    Raises:
        RefusedError: naming what does not fit.
    """
    traffic.check(challenger=challenger is not None)
    if challenger is None:
        return
    if champion is None:
        raise RefusedError("traffic policy: a challenger needs a champion beside it")
    if challenger.model_digest == champion.model_digest:
        raise RefusedError(
            f"traffic policy: champion and challenger are the same model {champion.model_digest[:12]}; name two"
        )


def blend_digest(champion_digest: str, challenger_digest: str) -> str:
    """Return what predictions of a blend carry as ``model_digest``: one name for the two models in their roles."""
    return digest_value([champion_digest, challenger_digest])
