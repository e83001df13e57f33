"""How good an axis order is, and whether chance explains it. numpy only.

Rows are studies. Studies are resampled for the lead of one order over another; relations and labels, which a random
network gets right or wrong for all studies alike, for the winner's own score.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["auroc", "auroc_p_values", "macro_auroc", "relation_p_values", "relation_share"]

_Table: TypeAlias = npt.NDArray[np.float64]
_RESAMPLES = 1000
#: Up to this many studies every pattern of signs is counted instead of drawn.
_EXACT = 12


def auroc(scores: _Table, labels: npt.NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve of [n] scores (ties count half); NaN unless both labels occur."""
    positives, negatives = scores[labels], scores[~labels]
    if not positives.size or not negatives.size:
        return math.nan
    differences = positives[:, None] - negatives[None, :]
    return float((differences > 0).mean() + 0.5 * (differences == 0).mean())


def macro_auroc(scores: _Table, labels: _Table) -> float:
    """Return the mean AUROC over the columns of [n, F] that have both labels; NaN in ``labels`` means unknown."""
    values = []
    for column in range(scores.shape[1]):
        known = np.isfinite(labels[:, column]) & np.isfinite(scores[:, column])
        value = auroc(scores[known, column], labels[known, column] > 0.5)
        if math.isfinite(value):
            values.append(value)
    return float(np.mean(values)) if values else math.nan


def relation_share(shown: _Table) -> float:
    """Return the share of true relations in [n, R]; NaN if none could be asked."""
    return float(np.nanmean(shown)) if np.isfinite(shown).any() else math.nan


def _at_least(count: int, trials: int) -> float:
    """Return the probability of ``count`` heads or more in ``trials`` throws of a coin."""
    return sum(math.comb(trials, heads) for heads in range(count, trials + 1)) / 2**trials


def _sign_flips(differences: _Table) -> float:
    """Return the two-sided p value that paired differences [n] are centred on 0."""
    n = len(differences)
    if n <= _EXACT:
        signs = np.array(list(product((-1.0, 1.0), repeat=n)))
    else:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(_RESAMPLES, n))
        signs = np.vstack([signs, np.ones(n)])
    sums = np.abs(signs @ differences)
    return float((sums >= abs(differences.sum()) - 1e-12).mean())


def relation_p_values(best: _Table, second: _Table) -> tuple[float, float]:
    """Return chance as the explanation of the lead of ``best`` over ``second``, and of its own share.

    Parameters
    ----------
    best, second
        1 where a relation was shown, 0 where denied, NaN where not askable, [n, R] each.
    """
    asked = np.isfinite(best).any(axis=0) & np.isfinite(second).any(axis=0)
    lead = np.nanmean(best[:, asked], axis=1) - np.nanmean(second[:, asked], axis=1)
    holds = np.nanmean(best[:, asked], axis=0) > 0.5
    return _sign_flips(lead), _at_least(int(holds.sum()), int(asked.sum()))


def auroc_p_values(best: _Table, second: _Table, labels: _Table, *, resamples: int = _RESAMPLES) -> tuple[float, float]:
    """Return chance as the explanation of the lead of ``best`` over ``second``, and of its own macro AUROC.

    The first is from a bootstrap over studies (two-sided), the second from labels dealt out anew.

    Parameters
    ----------
    best, second
        Probabilities [n, F].
    labels
        0, 1 or NaN, [n, F].
    resamples
        Bootstrap samples and permutations.
    """
    random = np.random.default_rng(0)
    n = len(labels)
    leads, dealt = [], []
    for _ in range(resamples):
        rows = random.integers(0, n, n)
        leads.append(macro_auroc(best[rows], labels[rows]) - macro_auroc(second[rows], labels[rows]))
        dealt.append(macro_auroc(best, labels[random.permutation(n)]))
    found = np.array(leads)[np.isfinite(leads)]
    own = macro_auroc(best, labels)
    behind = (1 + (found <= 0).sum()) / (1 + len(found))
    return min(1.0, 2 * float(behind)), float((1 + (np.array(dealt) >= own).sum()) / (1 + resamples))
