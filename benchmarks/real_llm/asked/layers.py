"""Which layer's states are kept: the one that a probe reads best, on rows that are named and never
certify.

A fifth of the questions, by a hash of their ids, choose. The choice is the product's own fit, which
compares layers by the log-loss on its validation rows.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from benchmarks.real_llm.errors import RealModelError
from benchmarks.real_llm.recording import Half, Outcomes
from benchmarks.real_llm.rows import cascade_rows, taken, vectors_of
from knowgate._records.arrays import BoolArray
from knowgate._records.records import Fingerprint, PTKind
from training.probes.probe_settings import FitSettings
from training.rows.splits import Proportions, split_rows
from training.tiers.learn import learn_tier

SHARE = 0.2
_ALL_TEACH = Proportions(certification=1e-9)


def choosing(ids: Sequence[str]) -> BoolArray:
    """[n] whether each question is one of those that choose the layer."""
    return np.array([hashlib.sha256(f"layer:{name}".encode()).digest()[0] < SHARE * 256 for name in ids])


def best_layer(outcomes: Outcomes, hidden: Half, fingerprints: Sequence[Fingerprint]) -> int:
    """The place of the best of the layers of `hidden` [n, layers, d], by the rows that choose.

    Raises RealModelError where these are too few, or all are right or wrong.
    """
    chosen = taken(outcomes, outcomes.chose_layer)
    free = np.zeros(len(chosen.id))
    rows = cascade_rows([chosen, chosen], PTKind.MEAN, [free, free])
    split = split_rows(rows.ids, rows.seconds, rows.prompt_hashes, _ALL_TEACH)
    learned = learn_tier(rows, split, 0, vectors_of(hidden[outcomes.chose_layer], fingerprints), FitSettings())
    if learned is None:
        raise RealModelError(f"{len(chosen.id)} questions are too few to choose a layer: ask more")
    return learned.fitted.layer
