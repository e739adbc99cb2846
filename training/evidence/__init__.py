"""The evidence about a candidate and the gate that judges it: bundle, policy, rules, verdict."""

from serving.release.attached import BUNDLE_FILE, EVIDENCE_FOLDER, PAGE_FILE
from training.evidence.assemble import Given, assemble
from training.evidence.bundle import LEDGER_FILE, Bundle, ModelFacts
from training.evidence.candidate import Candidate
from training.evidence.policy import GatePolicy
from training.evidence.rules import judge, judge_statistics

__all__ = [
    "BUNDLE_FILE",
    "EVIDENCE_FOLDER",
    "LEDGER_FILE",
    "PAGE_FILE",
    "Bundle",
    "Candidate",
    "GatePolicy",
    "Given",
    "ModelFacts",
    "assemble",
    "judge",
    "judge_statistics",
]
