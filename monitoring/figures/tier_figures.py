"""One tier's figures: what it kept and why not, and how well its signals tell right from wrong.

AUROC, ECE and Brier need labels of retained and of escalated answers. Where one side is labelled
more often than the other, rows are thinned to one common rate by a keyed hash of the decision's id:
the figure then is that of all attempts, from fewer labels. A side without any label makes it "not
identified".
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from evidence.errors import EvidenceError
from evidence.signals.calibration import Calibration, calibration_of
from evidence.signals.quality import auroc
from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import Role
from knowgate.spec import CascadeSpec
from monitoring.drift.signal_tables import missing_shares
from monitoring.figures.estimates import Estimated, mean, share, stratified_mean, unidentified
from monitoring.figures.latency_figures import tier_latencies
from monitoring.figures.ood_figures import ood_figures
from monitoring.names import ESCALATES, FigureName, escalated_by, missing_of
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import beside_the_last
from store.traffic.undeclared import is_undeclared

OVERCONFIDENT_FROM = 0.9  # a retained answer with at least this score claims to be sure


def tier_figures(cohort: Cohort, tier: int) -> dict[FigureName, Estimated]:
    """The figures of one tier; the last tier decides nothing and has only runs and accuracy."""
    rows = cohort.attempts[cohort.attempts["tier"] == tier]
    figures = {
        FigureName.QUERIES: Estimated(n=len(rows), value=float(len(rows))),
        FigureName.CUT_RUNS: Estimated(n=len(rows), value=float(rows["cut"].sum())),
        FigureName.UNDECLARED_SHARE: share(int(undeclared_attempts(cohort.spec, rows).sum()), len(rows)),
        FigureName.ACCURACY: _tier_accuracy(rows),
    } | tier_latencies(rows)
    if tier == cohort.spec.last or rows.empty:
        return figures
    decided = rows[rows["retained"] | rows["reason"].notna()]
    reasons, n, kept = decided["reason"].value_counts(), len(decided), int(decided["retained"].sum())
    figures[FigureName.RETAINED_SHARE] = share(kept, n)
    figures[FigureName.ESCALATED_SHARE] = share(n - kept, n)
    figures[FigureName.SKIPPED_SHARE] = share(
        int(((decided["role"] == Role.SKIPPED) & ~beside_the_last(decided)).sum()), n
    )
    figures |= {escalated_by(reason): share(int(reasons.get(reason.value, 0)), n) for reason in ESCALATES}
    figures |= {missing_of(name): share(gone, n) for name, (gone, n) in missing_shares(rows).items()}
    return figures | signal_figures(rows) | ood_figures(cohort, tier)


def undeclared_attempts(spec: CascadeSpec, rows: pd.DataFrame) -> BoolArray:
    """[n] which of these attempts ran another model than `spec` declares for their tier."""
    return is_undeclared(rows["tier"].tolist(), rows["model"].tolist(), rows["revision"].tolist(), spec)


def signal_figures(rows: pd.DataFrame) -> dict[FigureName, Estimated]:
    """AUROCs, calibration and overconfidence over one tier's attempts (at least one)."""
    reason, labelled = _evenly_labelled(rows)
    figures: dict[FigureName, Estimated] = {}
    for name, signal in (
        (FigureName.AUROC_P_T, "p_t"),
        (FigureName.AUROC_P_IK, "p_ik"),
        (FigureName.AUROC_SCORE, "score"),
    ):
        figures[name] = _over(labelled, signal, reason, _auroc)
    return figures | _score_figures(labelled, reason) | {FigureName.OVERCONFIDENCE: overconfidence(rows)}


def score_figures(rows: pd.DataFrame) -> dict[FigureName, Estimated]:
    """Of `signal_figures` what speaks of the score: its calibration, AUROC and overconfidence."""
    reason, labelled = _evenly_labelled(rows)
    figures = _score_figures(labelled, reason)
    figures[FigureName.AUROC_SCORE] = _over(labelled, "score", reason, _auroc)
    return figures | {FigureName.OVERCONFIDENCE: overconfidence(rows)}


def _score_figures(labelled: pd.DataFrame, reason: str | None) -> dict[FigureName, Estimated]:
    return {
        FigureName.ECE: _over(labelled, "score", reason, _ece),
        FigureName.CALIBRATION_IN_THE_LARGE: _over(labelled, "score", reason, _in_the_large),
        FigureName.BRIER: _over(labelled, "score", reason, lambda s, c: mean((s - c) ** 2)),
    }


def calibration_seen(rows: pd.DataFrame) -> tuple[Calibration, Estimated] | None:
    """How one tier's scores and labels agree, and the mean of correct − score with its interval;
    None where labels do not tell.
    """
    reason, labelled = _evenly_labelled(rows)
    known = labelled[labelled["score"].notna()]
    if reason is not None or known.empty:
        return None
    score, correct = (known[name].to_numpy(dtype=np.float64) for name in ("score", "correct"))
    return calibration_of(score, correct), _in_the_large(score, correct)


def overconfidence(rows: pd.DataFrame) -> Estimated:
    """The share of wrong answers among the retained with a score of at least 0.9."""
    sure = rows[rows["retained"] & (rows["score"] >= OVERCONFIDENT_FROM)]
    if sure.empty:
        return unidentified(f"nothing is retained with a score of at least {OVERCONFIDENT_FROM}")
    return stratified_mean(
        1.0 - sure["correct"], sure["label_propensity"], np.full(len(sure), "sure"), what="labels of sure answers"
    )


def _tier_accuracy(rows: pd.DataFrame) -> Estimated:
    """P(this tier is right), over all its attempts but those run by a coin; their coin is the
    cascade's business. Where a gate ended it early, those that answered all the same speak for it.
    """
    ran = rows[(rows["role"] != Role.EXPLORATION) | _ended_early(rows)]
    if ran.empty:
        return unidentified("the tier ran only to explore")
    return stratified_mean(ran["correct"], ran["label_propensity"], _sides(ran), what="labels")


def _ended_early(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a gate ended the tier before it answered, though it may have, to learn from."""
    return (rows["role"] == Role.SKIPPED) | ((rows["role"] == Role.EXPLORATION) & rows["reason"].notna())


def _sides(rows: pd.DataFrame) -> npt.NDArray[np.str_]:
    return np.where(_ended_early(rows), "skipped", np.where(rows["retained"], "retained", "escalated"))


def _evenly_labelled(rows: pd.DataFrame) -> tuple[str | None, pd.DataFrame]:
    """Labelled rows thinned to one rate, or the reason why there are none."""
    seen = rows["correct"].notna()
    labelled = rows[seen]
    if labelled.empty:
        return "no labels", labelled
    if labelled["label_propensity"].isna().any():
        unknown = int(labelled["label_propensity"].isna().sum())
        return f"{unknown} of {len(labelled)} labels have an unknown propensity; send it with them", labelled
    sides, weight = _sides(rows), np.zeros(len(rows))
    for side in np.unique(sides):
        at = sides == side
        here = at & seen.to_numpy()
        if not here.any():
            return f"no labels on the {int(at.sum())} {side} answers", labelled
        inverse = 1.0 / rows["label_propensity"].to_numpy()[here]
        weight[here] = inverse * at.sum() / inverse.sum()
    keep = weight > 0.0
    keep[keep] = _uniform(rows["id"][keep]) < weight[keep] / weight.max() * (1.0 + 1e-9)
    return None, rows[keep]


def _uniform(ids: "pd.Series[Any]") -> FloatArray:
    """A number in [0, 1) per decision, always the same one."""
    keyed, digests = blake2b(digest_size=8, key=b"knowgate.thinning"), []
    for one in ids:
        name, digest = one.hex(), keyed.copy()  # a key costs as much as a digest
        # As a UUID is written, without making one: a week has many.
        digest.update(f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}".encode())
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), dtype=">u8") / 2**64


def _over(
    labelled: pd.DataFrame,
    signal: str,
    reason: str | None,
    figure: Callable[[FloatArray, FloatArray], Estimated],
) -> Estimated:
    if reason is not None:
        return unidentified(reason, len(labelled))
    rows = labelled[labelled[signal].notna()]
    if rows.empty:
        return unidentified(f"no {signal} is logged")
    try:
        return figure(rows[signal].to_numpy(dtype=np.float64), rows["correct"].to_numpy(dtype=np.float64))
    except EvidenceError as error:
        return unidentified(str(error), len(rows))


def _auroc(signal: FloatArray, correct: FloatArray) -> Estimated:
    """A half-right answer is on the side it is nearer to; exactly half counts as right."""
    result = auroc(signal, correct >= 0.5)
    return Estimated(n=result.n, value=result.value, low=result.lower, high=result.upper)


def _ece(score: FloatArray, correct: FloatArray) -> Estimated:
    result = calibration_of(score, correct)
    return Estimated(n=result.n, value=result.expected_calibration_error)


def _in_the_large(score: FloatArray, correct: FloatArray) -> Estimated:
    return mean(correct - score, reach=(-1.0, 1.0))
