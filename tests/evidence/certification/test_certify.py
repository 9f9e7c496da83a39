"""Certified thresholds: the walk, its three answers, and that its promise is kept."""

from collections.abc import Callable

import numpy as np
import pytest

from evidence.bounds.exact_drop import drop_refuted
from evidence.bounds.spending import delta_for_attempt
from evidence.certification.certificate import (
    Certification,
    CertificationTest,
    Target,
    Thresholds,
)
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.path import equal_quantile_path
from evidence.errors import InvalidInputError, OverlapError
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate.policy import first_retaining
from knowgate.spec import TargetKind
from tests.evidence.walks import certify_one_gate, one_gate_path, walk_candidates

DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)


def traffic(rng: np.random.Generator, n: int, hardness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are calibrated for the small tier, and correctness [n, 2] of small
    and last tier.
    """
    scores = 1.0 - 0.6 * hardness * rng.random(n) ** 2
    small = rng.random(n) < scores
    last = np.where(rng.random(n) < 0.85, rng.random(n) < 0.97, small)
    return scores, np.column_stack([small, last]).astype(float)


def keep_by(scores: np.ndarray) -> Callable[[Thresholds], np.ndarray]:
    def keep(thresholds: Thresholds) -> np.ndarray:
        gates = thresholds[0]
        assert gates is not None
        return first_retaining([scores >= gates[0].threshold])

    return keep


def threshold_of(answer: Certification) -> float:
    gates = answer.thresholds[0]
    assert gates is not None
    return gates[0].threshold


def test_the_last_candidate_before_the_first_failure_is_certified() -> None:
    scores, correct = traffic(np.random.default_rng(1), 3000)
    answer = certify_one_gate(scores, CertificationRows(correct=correct), DROP, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    assert answer.test is CertificationTest.EXACT_DROP
    x = correct[:, 1] - correct[:, 0]
    passes = [
        drop_refuted(int((x[kept] == 1).sum()), int((x[kept] == -1).sum()), 3000, 0.02, 0.1)
        for kept in (scores >= t[0][0].threshold for t in one_gate_path(scores))  # type: ignore[index]
    ]
    path = one_gate_path(scores)
    assert answer.thresholds == path[passes.index(False) - 1]
    assert answer.stopped_at is not None and answer.stopped_at.thresholds == path[passes.index(False)]
    assert answer.estimated_drop < answer.drop_upper_bound <= 0.02 < answer.stopped_at.drop_upper_bound
    assert answer.retained_share == (scores >= threshold_of(answer)).mean()
    assert (answer.n, answer.labels_needed, answer.least_escalation) == (3000, 0, None)


def test_the_sorted_door_gives_exactly_what_the_general_one_gives() -> None:
    rng = np.random.default_rng(2)
    scores, correct = traffic(rng, 1500)
    scores[rng.random(1500) < 0.05] = np.nan
    correct[rng.random((1500, 2)) < 0.01] = np.nan
    rows = CertificationRows(correct=correct)
    by_masks = walk_candidates(((at, keep_by(scores)(at)) for at in one_gate_path(scores)), rows, DROP, 0.1)
    assert certify_one_gate(scores, rows, DROP, 0.1) == by_masks
    assert by_masks.rows_assumed_wrong > 0


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_sorted_by_label_and_shuffled_give_the_same_certificate(weighted: bool) -> None:
    rng = np.random.default_rng(3)
    scores, correct = traffic(rng, 2000)
    propensity = np.where(rng.random(2000) < 0.5, 0.5, 1.0)
    observed = rng.random(2000) < propensity
    ids = np.array([f"q{i}" for i in range(2000)])

    def certify(order: np.ndarray) -> Certification:
        coins = {"propensity": propensity[order], "observed": observed[order]} if weighted else {}
        rows = CertificationRows(correct=correct[order], ids=tuple(ids[order]), **coins)
        target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.04)
        return certify_one_gate(scores[order], rows, target, 0.1)

    by_label = certify(np.argsort(correct[:, 1] - correct[:, 0], kind="stable"))
    assert by_label.status is CertificateStatus.CERTIFIED
    # The mean of floats sums in another order: everything but its last digit is the same.
    for shuffled in (certify(rng.permutation(2000)), certify(rng.permutation(2000))):
        assert shuffled.thresholds == by_label.thresholds
        assert shuffled.drop_upper_bound == by_label.drop_upper_bound
        assert shuffled.estimated_drop == pytest.approx(by_label.estimated_drop, abs=1e-12)


def test_an_ordering_learned_on_the_certification_rows_is_refused() -> None:
    scores, correct = traffic(np.random.default_rng(4), 200)
    rows = CertificationRows(correct=correct, ids=tuple(f"q{i}" for i in range(200)))
    with pytest.raises(OverlapError, match="1 certification rows, 'q7'"):
        certify_one_gate(scores, rows, DROP, 0.1, learned_on={"q7", "other"})
    with pytest.raises(InvalidInputError, match="ids is None"):
        certify_one_gate(scores, CertificationRows(correct=correct), DROP, 0.1, learned_on={"q7"})


def test_a_small_tier_that_is_always_worse_is_infeasible_with_the_escalation_it_must_pay() -> None:
    rng = np.random.default_rng(5)
    correct = np.column_stack([rng.random(2000) < 0.5, rng.random(2000) < 0.98]).astype(float)
    scores = rng.choice([0.5, 0.9], size=2000)  # no candidate retains less than half
    coarse = certify_one_gate(scores, CertificationRows(correct=correct), DROP, 0.1)
    assert coarse.status is CertificateStatus.INFEASIBLE
    assert coarse.thresholds == (None,)
    assert (coarse.retained_share, coarse.estimated_drop, coarse.drop_upper_bound) == (0.0, 0.0, 0.0)
    assert coarse.labels_needed is None
    assert coarse.least_escalation is not None and 0.4 < coarse.least_escalation < 0.46


def test_a_few_rows_are_insufficient_evidence_with_the_number_that_would_do() -> None:
    scores, correct = traffic(np.random.default_rng(6), 60, hardness=0.3)
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.005)
    answer = certify_one_gate(scores, CertificationRows(correct=correct), target, 0.1)
    assert answer.status is CertificateStatus.INSUFFICIENT_EVIDENCE
    assert answer.labels_needed is not None and 100 < answer.labels_needed < 5000
    assert answer.stopped_at is not None and answer.stopped_at.drop_upper_bound > 0.005


def test_with_the_labels_it_asked_for_it_certifies() -> None:
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.005)
    first = certify_one_gate(*_rows_of(np.random.default_rng(6), 60), target, 0.1)
    assert first.labels_needed is not None
    again = certify_one_gate(*_rows_of(np.random.default_rng(8), 60 + 2 * first.labels_needed), target, 0.1)
    assert again.status is CertificateStatus.CERTIFIED


def _rows_of(rng: np.random.Generator, n: int) -> tuple[np.ndarray, CertificationRows]:
    scores, correct = traffic(rng, n, hardness=0.3)
    return scores, CertificationRows(correct=correct)


@pytest.mark.slow
def test_escalating_everything_is_never_a_certificate() -> None:
    correct = np.tile([[0.0, 1.0]], (500, 1))
    answer = walk_candidates([((None,), np.ones(500, dtype=int))], CertificationRows(correct=correct), DROP, 0.1)
    assert answer.status is CertificateStatus.INSUFFICIENT_EVIDENCE
    assert answer.thresholds == (None,)


def test_two_gates_walk_a_path_through_their_plane() -> None:
    rng = np.random.default_rng(9)
    scores, correct = traffic(rng, 3000)
    p_ik = np.clip(scores + 0.1 * rng.standard_normal(3000), 0, 1)

    def keep(thresholds: Thresholds) -> np.ndarray:
        gates = thresholds[0]
        assert gates is not None
        return first_retaining([(p_ik >= gates[0].threshold) & (scores >= gates[1].threshold)])

    path = equal_quantile_path([{"p_ik": p_ik, "p_t": scores}])
    answer = walk_candidates(((at, keep(at)) for at in path), CertificationRows(correct=correct), DROP, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    assert [gate.signal for gate in answer.thresholds[0] or ()] == ["p_ik", "p_t"]


def test_a_chain_of_three_tiers_is_certified_as_a_whole() -> None:
    rng = np.random.default_rng(10)
    n = 3000
    low, high = rng.random(n), rng.random(n)
    correct = np.column_stack([rng.random(n) < 0.5 + low / 2, rng.random(n) < 0.7 + 0.3 * high, rng.random(n) < 0.97])
    rows = CertificationRows(correct=correct.astype(float))

    def keep(thresholds: Thresholds) -> np.ndarray:
        first, second = thresholds
        assert first is not None and second is not None
        return first_retaining([low >= first[0].threshold, high >= second[0].threshold])

    path = equal_quantile_path([{"p_t": low}, {"p_t": high}])
    answer = walk_candidates(((at, keep(at)) for at in path), rows, DROP, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    kept = keep(answer.thresholds)
    right = correct[np.arange(n), kept].mean()
    assert answer.estimated_drop == pytest.approx(correct[:, 2].mean() - right)
    assert len(answer.thresholds) == 2


def test_retained_accuracy_is_certified_by_the_binomial() -> None:
    scores, correct = traffic(np.random.default_rng(11), 3000)
    target = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.95)
    answer = certify_one_gate(scores, CertificationRows(correct=correct), target, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    assert answer.test is CertificationTest.EXACT_BINOMIAL
    kept = scores >= threshold_of(answer)
    assert answer.retained_accuracy == correct[kept, 0].mean()
    assert answer.retained_accuracy_lower_bound is not None and answer.retained_accuracy_lower_bound >= 0.95
    assert answer.epsilon is None


def test_a_retained_accuracy_out_of_reach_is_infeasible() -> None:
    rng = np.random.default_rng(12)
    correct = np.column_stack([rng.random(1000) < 0.6, np.ones(1000)]).astype(float)
    target = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.95)
    answer = certify_one_gate(np.full(1000, 0.5), CertificationRows(correct=correct), target, 0.1)
    assert answer.status is CertificateStatus.INFEASIBLE
    assert answer.least_escalation is not None and 0.3 < answer.least_escalation < 0.4


def test_weighted_rows_are_thinned_to_one_rate_and_certified_exactly() -> None:
    rng = np.random.default_rng(13)
    scores, correct = traffic(rng, 6000)
    propensity = np.where(scores > 0.9, 0.5, 1.0)
    observed = rng.random(6000) < propensity
    correct[~observed] = np.nan
    ids = tuple(f"q{i}" for i in range(6000))
    rows = CertificationRows(correct=correct, propensity=propensity, observed=observed, ids=ids)
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.05)
    answer = certify_one_gate(scores, rows, target, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    assert answer.test is CertificationTest.THINNED_DROP
    assert 2900 < answer.n < 3100  # every row of the table, at the rate of the rarest coin
    assert answer.drop_upper_bound <= 0.05


def test_weighted_rows_are_bet_on_where_thinning_would_waste_more() -> None:
    rng = np.random.default_rng(13)
    scores, correct = traffic(rng, 20_000)
    propensity = np.where(rng.random(20_000) < 0.02, 0.05, 1.0)
    observed = rng.random(20_000) < propensity
    correct[~observed] = np.nan
    ids = tuple(f"q{i}" for i in range(20_000))
    rows = CertificationRows(correct=correct, propensity=propensity, observed=observed, ids=ids)
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.05)
    answer = certify_one_gate(scores, rows, target, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    assert answer.test is CertificationTest.BETTING_DROP
    assert answer.drop_upper_bound <= 0.05


def test_soft_labels_are_certified_by_betting_for_an_accuracy_too() -> None:
    rng = np.random.default_rng(14)
    scores, correct = traffic(rng, 3000)
    rows = CertificationRows(correct=np.clip(correct, 0.02, 0.98), ids=tuple(f"q{i}" for i in range(3000)))
    target = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.9)
    answer = certify_one_gate(scores, rows, target, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    assert answer.test is CertificationTest.BETTING_ACCURACY
    assert answer.retained_accuracy_lower_bound is not None and answer.retained_accuracy_lower_bound >= 0.89


def test_a_hundred_thousand_rows_are_certified_from_one_sort() -> None:
    scores, correct = traffic(np.random.default_rng(15), 100_000)
    answer = certify_one_gate(scores, CertificationRows(correct=correct), DROP, 0.1)
    assert answer.status is CertificateStatus.CERTIFIED
    assert answer.n == 100_000


def true_drop(threshold: float, grid: np.ndarray) -> float:
    """The population's drop at a threshold, by integration over the scores of `traffic`."""
    scores = 1.0 - 0.6 * grid**2
    p_last = 0.85 * 0.97 + 0.15 * scores
    return float(((p_last - scores) * (scores >= threshold)).mean())


def test_the_promise_is_broken_in_at_most_delta_of_all_certificates() -> None:
    rng, runs, n = np.random.default_rng(16), 300, 800
    grid = (np.arange(20_000) + 0.5) / 20_000
    broken = 0
    for _ in range(runs):
        scores, correct = traffic(rng, n)
        x = correct[:, 1] - correct[:, 0]
        best = None
        for thresholds in one_gate_path(scores, points=60):
            kept = scores >= thresholds[0][0].threshold  # type: ignore[index]
            if not drop_refuted(int((x[kept] == 1).sum()), int((x[kept] == -1).sum()), n, 0.02, 0.1):
                break
            best = thresholds[0][0].threshold  # type: ignore[index]
        broken += best is not None and true_drop(best, grid) > 0.02
    assert broken / runs <= 0.1 + 2 * np.sqrt(0.09 / runs)


def test_bad_input_is_named() -> None:
    rows = CertificationRows(correct=[[1, 1], [0, 1]])
    with pytest.raises(InvalidInputError, match=r"delta is 0\.9"):
        certify_one_gate([0.5, 0.6], rows, DROP, 0.9)
    with pytest.raises(InvalidInputError, match="rows has 2, p_t of tier 0 has 1"):
        certify_one_gate([0.5], rows, DROP, 0.1)
    with pytest.raises(InvalidInputError, match="rows of 3"):
        certify_one_gate([0.5], CertificationRows(correct=[[1, 1, 1]]), DROP, 0.1)
    with pytest.raises(InvalidInputError, match="kept has shape"):
        walk_candidates([((None,), np.array([0, 5]))], rows, DROP, 0.1)
    with pytest.raises(InvalidInputError, match=r"target value is 1\.5"):
        Target(kind=TargetKind.MAX_ACCURACY_DROP, value=1.5)


@pytest.mark.slow
def test_fifty_two_recertifications_that_adopt_what_is_bolder_keep_the_familys_promise() -> None:
    """Weekly, on overlapping windows of four weeks: the k-th attempt at 6δ/(π²k²), and what the
    whole δ would do.
    """
    rng, families, weekly = np.random.default_rng(17), 100, 300
    grid = (np.arange(20_000) + 0.5) / 20_000
    broken = broken_unspent = 0
    for _ in range(families):
        weeks = [traffic(rng, weekly) for _ in range(56)]
        broken += _family_is_broken(weeks, grid, lambda attempt: delta_for_attempt(0.1, attempt))
        broken_unspent += _family_is_broken(weeks, grid, lambda _: 0.1)
    assert broken / families <= 0.1 + 2 * np.sqrt(0.09 / families)
    assert broken_unspent / families > 0.5


def _family_is_broken(
    weeks: list[tuple[np.ndarray, np.ndarray]], grid: np.ndarray, level: Callable[[int], float]
) -> bool:
    """Whether any of 52 weeks adopts a bolder threshold that breaks the promise."""
    boldest, violated = 2.0, False
    for attempt in range(1, 53):
        window = weeks[attempt : attempt + 4]
        scores = np.concatenate([s for s, _ in window])
        correct = np.concatenate([c for _, c in window])
        chosen = _certified_threshold(scores, correct, level(attempt))
        if chosen is not None and chosen < boldest:
            boldest = chosen
            violated = violated or true_drop(chosen, grid) > 0.02
    return violated


def _certified_threshold(scores: np.ndarray, correct: np.ndarray, delta: float) -> float | None:
    order = np.argsort(-scores)
    x = (correct[:, 1] - correct[:, 0])[order]
    plus, minus = np.cumsum(x == 1), np.cumsum(x == -1)
    best = None
    for thresholds in one_gate_path(scores, points=60):
        value = thresholds[0][0].threshold  # type: ignore[index]
        kept = int((scores >= value).sum()) - 1
        if not drop_refuted(int(plus[kept]), int(minus[kept]), len(x), 0.02, delta):
            break
        best = value
    return best
