"""A score learned on one half of an outcome table, so that the other half can certify it.

A row's half is a keyed hash of its prompt, or of its query id where the table has no prompt: fixed
before any label is looked at, the same whatever the file's order, and a prompt asked twice is
wholly in one half. `evidence.signals.score_fit` says what a score is made of. At most 50 000 rows
teach; more would not change the weights.
"""

from dataclasses import dataclass

import numpy as np

from evidence.bounds.betting import thinning_coins
from evidence.signals.score_fit import FEWEST_ROWS, SignalRows, fit_score
from knowgate._models.score import ScoreModel
from knowgate._records.arrays import BoolArray, FloatArray
from services.errors import TableInvalid
from services.outcome_tables.outcomes import OutcomeTable

LEARNING_SHARE = 0.5
LEARNING_ROWS = 50_000
SALT = "knowgate.learn.v1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableScore:
    """Scores of every query, and which queries taught them."""

    models: tuple[ScoreModel, ...]  # per non-last tier
    scores: tuple[FloatArray, ...]  # per non-last tier [n], NaN where a signal is missing
    taught: BoolArray  # [n] queries that must not certify


def learn_score(table: OutcomeTable) -> TableScore:
    """Raises TableInvalid where a tier has too few labelled rows of either outcome to
    learn from.
    """
    asked = zip(table.query_ids, table.prompt, strict=True)
    coins = thinning_coins([str(query) if prompt is None else str(prompt) for query, prompt in asked], SALT)
    taught = coins < LEARNING_SHARE
    enough = LEARNING_ROWS / max(1, table.queries)
    learning = coins < min(LEARNING_SHARE, enough)
    models = tuple(_fit(table, tier, learning) for tier in range(table.tiers - 1))
    scores = tuple(_scores(model, table, tier) for tier, model in enumerate(models))
    return TableScore(models=models, scores=scores, taught=taught)


def _fit(table: OutcomeTable, tier: int, learning: BoolArray) -> ScoreModel:
    rows = SignalRows(
        p_t=table.p_t[learning, tier],
        p_ik=table.p_ik[learning, tier],
        entropy=table.entropy[learning, tier],
        margin=table.margin[learning, tier],
        slices=tuple(table.slice[learning].tolist()),
        y=table.correct[learning, tier],
    )
    known = np.isfinite(rows.y) & np.isfinite(rows.p_t) & (np.isfinite(rows.p_ik) | np.isnan(rows.p_ik).all())
    right = float(rows.y[known].sum())
    fewest = min(right, float(known.sum()) - right)
    model = fit_score(rows) if fewest >= FEWEST_ROWS else None
    if model is None:
        raise TableInvalid(
            f"tier {tier}: the {int(known.sum())} labelled rows that may teach a score hold {fewest:g} of the rarer"
            f" outcome, {FEWEST_ROWS} are needed; give more labels or use --rule p_t"
        )
    return model


def _scores(model: ScoreModel, table: OutcomeTable, tier: int) -> FloatArray:
    p_ik = table.p_ik[:, tier]
    return model.scores(
        p_t=table.p_t[:, tier],
        p_ik=p_ik if np.isfinite(p_ik).any() else np.full(table.queries, 0.5),  # where there is none it has no weight
        entropy=table.entropy[:, tier],
        margin=table.margin[:, tier],
        slices=table.slice.tolist(),
    )
