"""The recording as the trainer sees a window: decisions in which every tier ran, with states, costs
and labels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np

from benchmarks.real_llm.recording import Half, Outcomes
from knowgate._models.features import features
from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import Fingerprint, PTKind, Role
from store.traffic.attempt_columns import objects
from training.rows.dataset import CascadeRows, TierColumns, TierVectors
from training.rows.row_blocks import ArrayBlocks


def cascade_rows(
    tiers: Sequence[Outcomes],
    kind: PTKind,
    costs: Sequence[FloatArray],
    *,
    sliced: bool = True,
    early: Mapping[int, float] | None = None,
    draw: int = 0,
) -> CascadeRows:
    """The n questions as decisions, with this kind of P(T) and these costs [n] per tier.

    The cheaper tier's answer is kept; the last tier ran all the same, so that both are known.
    Another `draw` names the prompts otherwise, so that other ones teach and certify.
    """
    first, n = tiers[0], len(tiers[0].id)
    return CascadeRows(
        ids=first.id,
        seconds=np.ones(n),
        slices=first.kind if sliced else (None,) * n,
        prompts=first.question,
        prompt_hashes=tuple(hashlib.sha256(f"{draw}:{text}".encode()).hexdigest() for text in first.question),
        exploration_rate=np.ones(n),
        tiers=tuple(
            _columns(one, kind, cost, Role.SERVED if tier == 0 else Role.EXPLORATION)
            for tier, (one, cost) in enumerate(zip(tiers, costs, strict=True))
        ),
        fingerprints={},
        p_t_kinds=(kind,),
        early=dict(early or {}),
    )


def vectors_of(hidden: Half, fingerprints: Sequence[Fingerprint]) -> TierVectors:
    """States [n, layers, d] of all questions, one fingerprint per layer."""
    n, layers, d = hidden.shape
    x = features(hidden.reshape(n * layers, d)).reshape(n, layers, d)
    return TierVectors(fingerprints=tuple(fingerprints), present=np.ones(n, dtype=np.bool_), rows=ArrayBlocks(x=x))


def taken(outcomes: Outcomes, rows: BoolArray) -> Outcomes:
    """The outcomes of the chosen questions."""
    changes: dict[str, object] = {}
    for item in fields(Outcomes):
        value = getattr(outcomes, item.name)
        if isinstance(value, np.ndarray):
            changes[item.name] = value[rows]
        elif isinstance(value, tuple):
            changes[item.name] = tuple(one for one, keep in zip(value, rows, strict=True) if keep)
    return replace(outcomes, **changes)  # type: ignore[arg-type]


def _columns(outcomes: Outcomes, kind: PTKind, cost: FloatArray, role: Role) -> TierColumns:
    n = len(outcomes.id)
    certain = np.ones(n)
    return TierColumns(
        ran=np.ones(n, dtype=np.bool_),
        p_t=outcomes.p_t_mean if kind is PTKind.MEAN else outcomes.p_t_first,
        entropy=outcomes.entropy,
        correct=outcomes.correct,
        tokens_in=outcomes.tokens_in,
        tokens_out=outcomes.tokens_out,
        cost_usd=cost,
        run_propensity=certain,
        label_propensity=certain,
        role=objects([role] * n),
        answer=objects(list(outcomes.answer)),
    )
