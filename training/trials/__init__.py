"""The trial ledger: every fit and every backtest is a row, begun before the work and closed by what became of it.

``training.trials.session.open_ledger`` opens the one of this installation.
"""

from training.trials.ledger import TrialLedger
from training.trials.record import Draft, Fold, Head, Status, StudySummary, TrialRecord
from training.trials.trial import Batch, Trial
from training.trials.verification import Gap

__all__ = ["Batch", "Draft", "Fold", "Gap", "Head", "Status", "StudySummary", "Trial", "TrialLedger", "TrialRecord"]
