"""On recorded outcomes of real models: more is retained than by the betting bound, and the promise
is kept.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from evidence.bounds.exact_drop import drop_refuted
from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate.spec import TargetKind
from tests.evidence.walks import certify_one_gate, one_gate_path

pandas = pytest.importorskip("pandas")
REFERENCE_SHARE = 0.293  # the betting bound on halves of mmlu_llama3_8b_70b, ε = .02, δ = .1


def recorded() -> tuple[np.ndarray, np.ndarray]:
    """p_t [n] of the small tier and correctness [n, 2], where p_t is known."""
    given = os.environ.get("KNOWGATE_RECORDED_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    file = folder / "mmlu_llama3_8b_70b.parquet"
    if not file.exists():
        pytest.skip("the recorded outcomes are not here; set KNOWGATE_RECORDED_DATA")
    table = pandas.read_parquet(file)
    small = table[table.tier == 0].set_index("query_id")
    last = table[table.tier == 1].set_index("query_id").loc[small.index]
    known = small.p_t.notna().to_numpy()
    correct = np.column_stack([small.correct.to_numpy(dtype=float), last.correct.to_numpy(dtype=float)])
    return small.p_t.to_numpy()[known], correct[known]


def test_the_recorded_set_is_certified_with_the_drop_it_shows() -> None:
    p_t, correct = recorded()
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
    answer = certify_one_gate(p_t, CertificationRows(correct=correct), target, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    gates = answer.thresholds[0]
    assert gates is not None
    kept = p_t >= gates[0].threshold
    assert answer.retained_share == kept.mean() > REFERENCE_SHARE
    assert answer.estimated_drop == pytest.approx((kept * (correct[:, 1] - correct[:, 0])).mean())


def test_halves_keep_more_than_the_betting_bound_and_break_the_promise_seldom() -> None:
    p_t, correct = recorded()
    rng, runs, n = np.random.default_rng(0), 200, len(p_t) // 2
    shares, broken = [], 0
    for _ in range(runs):
        rows = rng.integers(0, len(p_t), n)
        threshold = walk(p_t[rows], correct[rows, 1] - correct[rows, 0])
        shares.append((p_t[rows] >= threshold).mean())
        broken += ((p_t >= threshold) * (correct[:, 1] - correct[:, 0])).mean() > 0.02
    assert 1.03 * REFERENCE_SHARE < np.mean(shares) < 1.08 * REFERENCE_SHARE
    assert broken / runs <= 0.1 + 2 * np.sqrt(0.09 / runs)


def walk(scores: np.ndarray, x: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    plus, minus = np.cumsum(x[order] == 1), np.cumsum(x[order] == -1)
    best = np.inf
    for thresholds in one_gate_path(scores):
        value = thresholds[0][0].threshold  # type: ignore[index]
        kept = int(np.searchsorted(-scores[order], -value, side="right")) - 1
        if not drop_refuted(int(plus[kept]), int(minus[kept]), len(x), 0.02, 0.1):
            break
        best = value
    return float(best)
