"""Outcomes of champion and challenger on the same decisions, from the trader's ledger, and what they prove."""

from training.online.findings import findings_of
from training.online.rules import Comparison, OnlineRules, OnlineSettings

__all__ = ["Comparison", "OnlineRules", "OnlineSettings", "findings_of"]
