"""Attempts whose model is not the one that the cascade declares for their tier.

Such a decision is a fact: it is stored, priced and shown like any other. But it says nothing of the
declared model, so nothing is learned or certified from it, and whoever runs the cascade reads it:
in the receipt, in the log, by a figure and by an alert. docs/decisions/0091 says why it is not
refused.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from knowgate._records.receipts import Undeclared
from knowgate._records.records import Decision
from knowgate.spec import CascadeSpec
from store.traffic.example_columns import Examples


def undeclared_models(decisions: Iterable[tuple[Decision, CascadeSpec]]) -> tuple[Undeclared, ...]:
    """What these decisions, each with its cascade, ran beside what was declared; empty where all is
    as declared.
    """
    counts: dict[tuple[str, int, str, str], int] = {}
    for decision, spec in decisions:
        for attempt in decision.attempts:
            if attempt.tier > spec.last:
                continue  # the cascade was shortened since
            tier = spec.tiers[attempt.tier]
            said, declared = attempt.model, tier.named_model
            revision = None if attempt.fingerprint is None else attempt.fingerprint.revision
            if not tier.declares(attempt.model, revision):
                if said == declared:
                    said, declared = f"{said}@{revision}", f"{declared}@{tier.revision}"
                key = (decision.cascade, attempt.tier, said, declared)
                counts[key] = counts.get(key, 0) + 1
    return tuple(
        Undeclared(cascade=cascade, tier=tier, model=said, declared=declared, attempts=number)
        for (cascade, tier, said, declared), number in sorted(counts.items())
    )


def is_undeclared(
    tiers: Sequence[int], models: Sequence[str], revisions: Sequence[str | None], spec: CascadeSpec
) -> npt.NDArray[np.bool_]:
    """[n] which attempts ran another model than `spec` declares for their tier, or a tier that it
    has not.
    """
    known: dict[tuple[int, str, str | None], bool] = {}

    def judged(key: tuple[int, str, str | None]) -> bool:
        if key not in known:
            tier, model, revision = key
            known[key] = tier > spec.last or not spec.tiers[tier].declares(model, revision)
        return known[key]

    keys = zip(tiers, models, revisions, strict=True)
    return np.fromiter((judged((int(tier), model, revision)) for tier, model, revision in keys), dtype=np.bool_)


def undeclared(examples: Examples, spec: CascadeSpec) -> npt.NDArray[np.bool_]:
    """[n] the same of the attempts that `store.traffic.examples.labelled` joined."""
    return is_undeclared(examples.tier.tolist(), examples.model.tolist(), examples.revision.tolist(), spec)
