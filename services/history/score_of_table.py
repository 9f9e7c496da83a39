"""A score learned on one half of an outcome table, so that the other half can certify it.

A row's half is a keyed hash of its prompt, or of its query id where the table has no prompt: fixed before any label is
looked at, the same whatever the file's order, and a prompt asked twice is wholly in one half. Per non-last tier the
score is a ridge logistic regression on logit p_t, on logit p_ik, entropy and margin where the table has them (the
latter two on practically all rows), and an offset for each slice of at least 30 taught rows. At most 50 000 rows teach;
more would not change the weights.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from evidence import thinning_coins
from evidence.ridge_logistic import ridge_logistic
from knowgate.calibrator import Platt
from knowgate.logistic import logits
from knowgate.policy import BoolArray, FloatArray
from knowgate.score import ScoreModel
from services.errors import TableInvalid
from services.history.outcomes import OutcomeTable

LEARNING_SHARE = 0.5
LEARNING_ROWS = 50_000
FEWEST_ROWS = 30  # labelled rows of each outcome that a score is learned from; also of a slice with its own offset
SIGNAL_RIDGE, SLICE_RIDGE = 1.0, 10.0
SIGNAL_KNOWN = 0.99  # share of the rows with P(T), for entropy and margin
LOGITS = ("p_t", "p_ik")
SALT = "knowgate.learn.v1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableScore:
    """Scores of every query, and which queries taught them."""

    models: tuple[ScoreModel, ...]  # per non-last tier
    scores: tuple[FloatArray, ...]  # per non-last tier [n], NaN where a signal is missing
    taught: BoolArray  # [n] queries that must not certify


def learn_score(table: OutcomeTable) -> TableScore:
    """Raises TableInvalid where a tier has too few labelled rows of either outcome to learn from."""
    asked = zip(table.query_ids, table.prompt, strict=True)
    coins = thinning_coins([str(query) if prompt is None else str(prompt) for query, prompt in asked], SALT)
    taught = coins < LEARNING_SHARE
    enough = LEARNING_ROWS / max(1, table.queries)
    learning = coins < min(LEARNING_SHARE, enough)
    models = tuple(_fit(table, tier, learning) for tier in range(table.tiers - 1))
    scores = tuple(_scores(model, table, tier) for tier, model in enumerate(models))
    return TableScore(models=models, scores=scores, taught=taught)


def _fit(table: OutcomeTable, tier: int, learning: BoolArray) -> ScoreModel:
    columns = _columns(table, tier)
    signals = np.column_stack([logits(values) if name in LOGITS else values for name, values in columns.items()])
    known = learning & np.isfinite(signals).all(axis=1) & np.isfinite(table.correct[:, tier])
    right = float(table.correct[known, tier].sum())
    fewest = min(right, float(known.sum()) - right)
    if fewest < FEWEST_ROWS:
        raise TableInvalid(
            f"tier {tier}: the {int(known.sum())} labelled rows that may teach a score hold {fewest:g} of the rarer"
            f" outcome, {FEWEST_ROWS} are needed; give more labels or use --rule p_t"
        )
    slices = sorted(
        str(name) for name, count in Counter(table.slice[known]).items() if name is not None and count >= FEWEST_ROWS
    )
    centre, spread = signals[known].mean(axis=0), signals[known].std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    offsets = (table.slice[known][:, None] == np.array(slices, dtype=object)).astype(np.float64)
    design = np.column_stack([np.ones(int(known.sum())), (signals[known] - centre) / spread, offsets])
    ridge = np.concatenate([[0.0], np.full(len(centre), SIGNAL_RIDGE), np.full(len(slices), SLICE_RIDGE)])
    beta = ridge_logistic(design, table.correct[known, tier], np.ones(len(design)), ridge)
    weights = beta[1 : 1 + len(centre)] / spread
    weight_of = dict(zip(columns, weights.tolist(), strict=True))
    return ScoreModel(
        w_p_t=weight_of["p_t"],
        w_p_ik=weight_of.get("p_ik", 0.0),
        w_entropy=weight_of.get("entropy", 0.0),
        w_margin=weight_of.get("margin", 0.0),
        intercept=float(beta[0] - weights @ centre),
        slices=dict(zip(slices, beta[1 + len(centre) :].tolist(), strict=True)),
        calibrator=Platt(slope=1.0, intercept=0.0),
    )


def _scores(model: ScoreModel, table: OutcomeTable, tier: int) -> FloatArray:
    columns = _columns(table, tier)
    p_ik = columns.get("p_ik", np.full(table.queries, 0.5))  # its weight is 0 where the table has none
    slices = table.slice.tolist() if model.slices else None
    return model.scores(
        p_t=columns["p_t"],
        p_ik=p_ik,
        entropy=columns.get("entropy"),
        margin=columns.get("margin"),
        slices=slices,
    )


def _columns(table: OutcomeTable, tier: int) -> dict[str, FloatArray]:
    """The signals that a score is learned on; a row without one of them would have no score."""
    held = {"p_t": table.p_t[:, tier]}
    if np.isfinite(table.p_ik[:, tier]).any():
        held["p_ik"] = table.p_ik[:, tier]
    shows = np.isfinite(held["p_t"])
    for name in ("entropy", "margin"):
        values: FloatArray = getattr(table, name)[:, tier]
        known = np.isfinite(values)
        if known[shows].sum() >= SIGNAL_KNOWN * max(1, shows.sum()) and np.ptp(values[known]) > 0:
            held[name] = values
    return held
