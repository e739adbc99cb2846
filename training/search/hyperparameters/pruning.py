"""When to give a trial up: pure functions of the fold scores of earlier trials, with more being better.

Optuna's own pruners know one objective only and ask its storage at the moment of the call, so that the timing of the
workers decides. These take the earlier trials as given: the same history, the same answer, with any number of
objectives and after any restart. A test holds them to Optuna's answers where both apply.
"""

import math
from collections.abc import Sequence

import numpy as np

from training.search.hyperparameters.parameters import PruningParameters

Scores = Sequence[float]  # of one trial, by fold, each over all folds so far; more is better
Earlier = Sequence[tuple[int, Scores]]  # slot and scores of the trials compared with, pruned ones as far as they came


def reason_to_prune(parameters: PruningParameters, folds: int, slot: int, mine: Scores, earlier: Earlier) -> str | None:
    """Return in words why a trial is given up after its last fold so far, or None.

    Args:
        parameters: the rule.
        folds: of a whole trial; the last is never pruned.
        slot: of the trial; hyperband deals brackets by it.
        mine: scores of the trial, at least one.
        earlier: the trials it is compared with.
    """
    done = len(mine)
    if parameters.kind == "none" or done >= folds or done < parameters.warm_folds:
        return None
    if parameters.kind == "percentile":
        return _percentile(parameters, folds, mine, earlier)
    return _hyperband(parameters, folds, slot, mine, earlier)


def _percentile(parameters: PruningParameters, folds: int, mine: Scores, earlier: Earlier) -> str | None:
    """Give up what is worse than the percentile of the completed trials at this fold (Golovin et al., KDD 2017, 3.2).

    The best score so far is compared, so that one bad fold does not end a trial that was ahead.
    """
    done = len(mine)
    others = np.array([scores[done - 1] for _, scores in earlier if len(scores) >= folds])
    if len(others) < parameters.warm_trials:
        return None
    limit = float(np.percentile(others, 100.0 - parameters.percentile))
    best = max(mine)
    if best >= limit:
        return None
    return f"after fold {done} of {folds}: {best:.6g} is not among the best {parameters.percentile:g} % ({limit:.6g})"


def _hyperband(parameters: PruningParameters, folds: int, slot: int, mine: Scores, earlier: Earlier) -> str | None:
    """Asynchronous successive halving in brackets (Li et al., "Hyperband", JMLR 18, 2018; ASHA, MLSys 2020).

    Bracket ``s`` is given ``warm_folds * reduction**s`` folds before its first rung; trials are dealt to the brackets
    in turn. At a rung a trial goes on if it is among the best ``1 / reduction`` of the bracket's that reached it.
    """
    rungs = rungs_of(parameters, folds)
    if not rungs or len(mine) not in rungs[slot % len(rungs) :]:
        return None
    at = len(mine)
    here = [scores for other, scores in earlier if (other - slot) % len(rungs) == 0]
    others = [scores[at - 1] for scores in here if len(scores) >= at]
    if len(others) + 1 < parameters.warm_trials:
        return None
    values = sorted([*others, mine[-1]], reverse=True)
    kept = max(len(values) // parameters.reduction, 1)
    if mine[-1] >= values[kept - 1]:
        return None
    return f"at the rung of fold {at} of {folds}: {mine[-1]:.6g} is not among the best {kept} of {len(values)}"


def rungs_of(parameters: PruningParameters, folds: int) -> tuple[int, ...]:
    """Return the folds after which hyperband decides, ascending and before the last."""
    if folds <= parameters.warm_folds:
        return ()
    count = math.ceil(math.log(folds / parameters.warm_folds, parameters.reduction) - 1e-9)
    return tuple(parameters.warm_folds * parameters.reduction**power for power in range(count))
