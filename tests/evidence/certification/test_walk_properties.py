"""What holds of every certification, whatever the rows: against brute force, and in which direction
it must move.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from evidence.bounds.betting import betting_lower_bound, betting_upper_bound, log_capital
from evidence.bounds.binomial import proportion_at_least, retained_rows_to_start
from evidence.bounds.exact_drop import drop_lower_bound, drop_refuted
from evidence.certification.betted import BettedAccuracy, BettedDrop
from evidence.certification.certificate import Certification, Gate, Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy, refuse_overlap
from evidence.certification.counted import CountedDrop
from evidence.certification.path import equal_quantile_path
from evidence.certification.tally import tally_of, tally_of_least_drop
from evidence.errors import OverlapError
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.records import Reason
from knowgate.policy import Policy, PolicyKind, kept_tiers
from knowgate.spec import TargetKind
from tests.evidence.walks import certify_one_gate, one_gate_path, walk_candidates

settings.register_profile("walks", deadline=None, max_examples=15)
settings.load_profile("walks")

SEED = st.integers(0, 2**32 - 1)
DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.1)


def drawn(
    seed: int, n: int = 120, tiers: int = 2, gates: tuple[str, ...] = ("p_t",)
) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """Signals with ties and gaps, and outcomes that follow them."""
    rng = np.random.default_rng(seed)
    base = rng.random((n, tiers - 1)).round(2)
    signals = [
        {gate: np.clip(base[:, tier] + 0.1 * rng.standard_normal(n), 0, 1).round(2) for gate in gates}
        for tier in range(tiers - 1)
    ]
    for shown in signals:
        for column in shown.values():
            column[rng.random(n) < 0.03] = np.nan
    small = rng.random((n, tiers - 1)) < 0.6 + 0.4 * base
    return signals, np.column_stack([small, rng.random(n) < 0.85]).astype(float)


def certify(
    seed: int, target: Target = DROP, delta: float = 0.1, rows: np.ndarray | None = None, tiers: int = 2, **more: object
) -> Certification:
    signals, correct = drawn(seed, tiers=tiers)
    order = np.arange(len(correct)) if rows is None else rows
    shown = [{gate: column[order] for gate, column in tier.items()} for tier in signals]
    logged = CertificationRows(correct=correct[order], ids=tuple(f"q{i}" for i in order))
    path = equal_quantile_path(signals)
    return certify_policy(PolicyKind.P_T, shown, logged, target, delta, path=path, min_retained_share=0.05, **more)  # type: ignore[arg-type]


@given(SEED, st.sampled_from([2, 3, 4]))
def test_the_walk_is_the_last_success_before_the_first_failure_by_brute_force(seed: int, tiers: int) -> None:
    answer = certify(seed, tiers=tiers)
    signals, correct = drawn(seed, tiers=tiers)
    best = None
    for thresholds in equal_quantile_path(signals):
        policy = Policy.of(PolicyKind.P_T, tuple(None if t is None else {"p_t": t[0].threshold} for t in thresholds))
        kept = kept_tiers(policy, signals)
        x = correct[:, -1] - correct[np.arange(len(kept)), kept]
        if (kept == tiers - 1).all():
            continue
        if not drop_refuted(int((x == 1).sum()), int((x == -1).sum()), len(x), 0.1, 0.1):
            break
        best = (thresholds, float((kept < tiers - 1).mean()), float(x.mean()))
    assert (answer.status is CertificateStatus.CERTIFIED) == (best is not None)
    if best is not None:
        assert (answer.thresholds, answer.retained_share) == best[:2]
        assert answer.estimated_drop == pytest.approx(best[2])
        assert answer.estimated_drop <= answer.drop_upper_bound <= 0.1


@given(SEED)
def test_a_retained_accuracy_is_walked_by_the_binomial_by_brute_force(seed: int) -> None:
    target = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.7)
    answer = certify(seed, target)
    signals, correct = drawn(seed)
    scores, best = signals[0]["p_t"], None
    for thresholds in one_gate_path(scores):
        kept = scores >= thresholds[0][0].threshold  # type: ignore[index]
        if kept.sum() < retained_rows_to_start(0.7, 0.1):
            continue
        if not proportion_at_least(int(correct[kept, 0].sum()), int(kept.sum()), 0.7, 0.1):
            break
        best = thresholds
    assert (answer.status is CertificateStatus.CERTIFIED) == (best is not None)
    if best is not None:
        assert answer.thresholds == best
        assert answer.retained_accuracy_lower_bound is not None
        assert answer.retained_accuracy_lower_bound >= 0.7 - 1e-9


@given(SEED, SEED, st.sampled_from([2, 3]))
def test_the_order_of_rows_changes_no_certificate(seed: int, shuffle: int, tiers: int) -> None:
    order = np.random.default_rng(shuffle).permutation(120)
    one, other = certify(seed, tiers=tiers), certify(seed, rows=order, tiers=tiers)
    assert (one.status, one.thresholds, one.retained_share) == (other.status, other.thresholds, other.retained_share)
    assert (one.drop_upper_bound, one.labels_needed) == (other.drop_upper_bound, other.labels_needed)
    assert one.least_escalation == other.least_escalation


@pytest.mark.slow
@settings(max_examples=12)
@given(SEED, st.sampled_from([2, 3]))
def test_a_smaller_delta_or_a_stricter_target_never_retains_more(seed: int, tiers: int) -> None:
    loose = certify(seed, tiers=tiers)
    assert certify(seed, delta=0.02, tiers=tiers).retained_share <= loose.retained_share
    strict = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.06)
    assert certify(seed, strict, tiers=tiers).retained_share <= loose.retained_share


@given(SEED)
def test_losing_a_label_never_retains_more(seed: int) -> None:
    """The worst case: what is not known is taken to be lost."""
    signals, correct = drawn(seed)
    full = certify_policy(PolicyKind.P_T, signals, CertificationRows(correct=correct), DROP, 0.1)
    correct[np.random.default_rng(seed).random(correct.shape) < 0.1] = np.nan
    part = certify_policy(PolicyKind.P_T, signals, CertificationRows(correct=correct), DROP, 0.1)
    assert part.retained_share <= full.retained_share


@given(SEED)
def test_a_coin_that_always_falls_is_no_coin(seed: int) -> None:
    signals, correct = drawn(seed)
    ids = tuple(f"q{i}" for i in range(len(correct)))
    certain = CertificationRows(
        correct=correct, propensity=np.ones(len(ids)), observed=np.ones(len(ids), dtype=bool), ids=ids
    )
    plain = CertificationRows(correct=correct, ids=ids)
    assert certify_policy(PolicyKind.P_T, signals, certain, DROP, 0.1) == certify_policy(
        PolicyKind.P_T, signals, plain, DROP, 0.1
    )


@given(SEED)
def test_a_gate_that_always_passes_and_a_tier_that_never_retains_change_nothing(seed: int) -> None:
    signals, correct = drawn(seed)
    scores = signals[0]["p_t"]
    rows = CertificationRows(correct=correct)
    alone = certify_policy(PolicyKind.P_T, signals, rows, DROP, 0.1)
    path = [
        ((Gate(signal=Reason.P_IK, threshold=0.0), *(thresholds[0] or ())),) for thresholds in one_gate_path(scores)
    ]
    both = [{"p_ik": np.full(len(scores), 0.5), "p_t": scores}]
    gated = certify_policy(PolicyKind.GATES, both, rows, DROP, 0.1, path=path)
    assert (gated.status, gated.retained_share, gated.estimated_drop) == (
        alone.status,
        alone.retained_share,
        alone.estimated_drop,
    )
    longer = CertificationRows(correct=np.column_stack([correct[:, 0], np.zeros(len(scores)), correct[:, 1]]))
    idle = [(*thresholds, None) for thresholds in one_gate_path(scores)]
    chain = certify_policy(PolicyKind.P_T, [*signals, {"p_t": scores}], longer, DROP, 0.1, path=idle)
    assert (chain.status, chain.retained_share) == (alone.status, alone.retained_share)


@pytest.mark.slow
@given(SEED)
def test_the_least_escalation_is_below_what_the_best_rule_pays(seed: int) -> None:
    """A bound for every rule: also for the one that knows the labels of these rows and is judged by
    them.
    """
    rng = np.random.default_rng(seed)
    correct = np.column_stack([rng.random(120) < 0.4, rng.random(120) < 0.95]).astype(float)
    one_level = [{"p_t": np.full(120, 0.5)}]  # all or nothing, and all is too much
    answer = certify_policy(PolicyKind.P_T, one_level, CertificationRows(correct=correct), DROP, 0.1)
    x = correct[:, 1] - correct[:, 0]
    assert answer.status is not CertificateStatus.CERTIFIED
    assert answer.least_escalation is not None
    assert 0.0 < answer.least_escalation < x.mean() - 0.1
    assert answer.least_escalation == pytest.approx(
        drop_lower_bound(int((x == 1).sum()), int((x == -1).sum()), 120, 0.1) - 0.1
    )


@given(SEED)
def test_the_rule_of_least_drop_is_no_worse_than_any_candidate(seed: int) -> None:
    correct = drawn(seed, tiers=3)[1]
    correct[np.random.default_rng(seed).random(correct.shape) < 0.05] = np.nan
    rows = CertificationRows(correct=correct)
    least = tally_of_least_drop(rows, 0.1)
    for tier in range(2):
        everywhere = np.full(120, tier, dtype=np.int64)
        assert least.drop.estimate <= tally_of(rows, everywhere, 0.1).drop.estimate


@given(SEED, st.floats(0.2, 1.0))
def test_weighted_and_plain_tallies_agree_where_both_apply(seed: int, low: float) -> None:
    """A bet on whole rows in {−1, 0, 1} is a bet on the same drop as the counts say."""
    signals, correct = drawn(seed)
    rng = np.random.default_rng(seed)
    ids = tuple(f"q{i}" for i in range(120))
    chance = np.where(rng.random(120) < 0.5, low, 1.0)
    chance[0], chance[1] = low, 1.0
    rows = CertificationRows(
        correct=np.clip(correct, 1e-9, 1.0), propensity=chance, observed=rng.random(120) < chance, ids=ids
    )
    kept = np.where(signals[0]["p_t"] >= 0.5, 0, 1)
    bet = tally_of(rows, kept, 0.1).drop
    assert isinstance(bet, BettedDrop)
    x = np.where(kept == 0, correct[:, 1] - correct[:, 0], 0.0)
    assert bet.estimate == pytest.approx((rows.seen * x / chance).mean(), abs=1e-6)
    assert bet.lower_bound(0.1) == max(betting_lower_bound(bet.counts, 0.1, bet.bound), -1.0)
    # Either bound may once in a while exclude the mean itself: a bet that was won stays won,
    # whatever rows follow.
    assert bet.upper_bound(0.1) == min(betting_upper_bound(bet.counts, 0.1, bet.bound), 1.0)
    plain = tally_of(CertificationRows(correct=correct), kept, 0.1).drop
    assert isinstance(plain, CountedDrop)
    assert plain.estimate == pytest.approx(x.mean())


@given(st.sets(st.text(max_size=3), max_size=8), st.sets(st.text(max_size=3), max_size=8))
def test_learning_and_certifying_rows_may_share_no_id(certify_ids: set[str], learned: set[str]) -> None:
    if certify_ids & learned:
        with pytest.raises(OverlapError):
            refuse_overlap(certify_ids, learned)
    else:
        refuse_overlap(certify_ids, learned)


@given(SEED)
def test_a_path_learned_on_other_rows_is_walked_as_it_is(seed: int) -> None:
    """Any list of candidates: the door for paths that labels of other rows have ordered."""
    correct = drawn(seed)[1]
    rng = np.random.default_rng(seed + 1)
    masks = [rng.random(120) < 0.1]
    for _ in range(12):
        masks.append(masks[-1] | (rng.random(120) < 0.1))
    rows = CertificationRows(correct=correct, ids=tuple(f"q{i}" for i in range(120)))
    candidates = [
        (((Gate(signal=Reason.P_T, threshold=at / 13),),), np.where(mask, 0, 1)) for at, mask in enumerate(masks)
    ]
    answer = walk_candidates(candidates, rows, DROP, 0.1)
    x = correct[:, 1] - correct[:, 0]
    passed = [
        drop_refuted(int((x[mask] == 1).sum()), int((x[mask] == -1).sum()), 120, 0.1, 0.1)
        for mask in masks
        if mask.any()
    ]
    expected = passed.index(False) if False in passed else len(passed)
    assert (answer.status is CertificateStatus.CERTIFIED) == (expected > 0)
    if expected > 0:
        assert answer.retained_share == masks[len(masks) - len(passed) + expected - 1].mean()


def test_a_first_failure_is_final_also_where_a_bolder_candidate_would_pass() -> None:
    """Walking on would be a second try at the same level: here the first candidate keeps the lost
    rows alone.
    """
    x = np.repeat([1.0, -1.0], [40, 80])
    rows = CertificationRows(correct=np.column_stack([x <= 0, x >= 0]).astype(float))
    bold = np.zeros(120, dtype=np.int64)
    candidates = [
        (((Gate(signal=Reason.P_T, threshold=at),),), kept) for at, kept in ((0.9, np.where(x > 0, 0, 1)), (0.1, bold))
    ]
    assert walk_candidates(candidates[1:], rows, DROP, 0.1).status is CertificateStatus.CERTIFIED
    answer = walk_candidates(candidates, rows, DROP, 0.1)
    assert answer.status is not CertificateStatus.CERTIFIED
    assert answer.stopped_at is not None and answer.stopped_at.retained_share == pytest.approx(1 / 3)


def test_what_passes_and_retains_less_than_is_worth_having_is_not_certified() -> None:
    draw = np.random.default_rng(5)
    p_t = draw.random(3000)
    small = (draw.random(3000) < np.where(p_t > 0.7, 1.0, 0.5)).astype(float)
    rows = CertificationRows(correct=np.column_stack([small, np.ones(3000)]))
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
    found = {least: certify_one_gate(p_t, rows, target, 0.1, min_retained_share=least) for least in (0.1, 0.45, 0.9)}
    assert found[0.1].status is CertificateStatus.CERTIFIED and 0.28 < found[0.1].retained_share < 0.35
    for least in (0.45, 0.9):
        assert found[least].status is CertificateStatus.INFEASIBLE
        assert found[least].retained_share == 0.0 and found[least].thresholds == (None,)
    near = certify_one_gate(p_t, rows, target, 0.1, min_retained_share=found[0.1].retained_share + 0.005)
    assert near.status is CertificateStatus.INSUFFICIENT_EVIDENCE and near.labels_needed


@pytest.mark.parametrize("delta", [0.02, 0.1, 0.2])
def test_the_bounds_of_accuracy_are_those_of_its_tests_at_their_level(delta: float) -> None:
    """Counts by the binomial's tails, weighted rows by where their own bet turns."""
    rng, n = np.random.default_rng(31), 400
    correct = (rng.random((n, 2)) < 0.8).astype(float)
    kept = np.zeros(n, dtype=np.int64)
    ids = tuple(str(row) for row in range(n))
    plain = tally_of(CertificationRows(correct=correct), kept, delta).accuracy
    right, low, high = (
        int(correct[:, 0].sum()),
        plain.lower_bound(delta),
        plain.upper_bound(delta),
    )
    assert low < right / n < high
    assert binom.cdf(right, n, high) == pytest.approx(delta, rel=1e-3)
    assert binom.sf(right - 1, n, low) == pytest.approx(delta, rel=1e-3)
    assert plain.missed(high + 1e-6, delta) and not plain.missed(high - 1e-6, delta)
    chance = np.where(np.arange(n) % 2 == 0, 0.5, 1.0)
    soft = np.where(correct == 1.0, 0.9, correct)  # fractions are bet on
    rows = CertificationRows(correct=soft, ids=ids, propensity=chance, observed=rng.random(n) < chance)
    bet = tally_of(rows, kept, delta).accuracy
    assert isinstance(bet, BettedAccuracy)
    low, high = bet.lower_bound(delta), bet.upper_bound(delta)
    assert bet.estimate is not None and 0.0 < low < bet.estimate < high < 1.0
    for at in (low - 1e-4, low + 1e-4, high - 1e-4, high + 1e-4):
        counts, _ = bet.shortfall(at)
        assert (log_capital(counts, 0.0, delta, bet.bound) >= np.log(1 / delta)) == (at < low)
        assert (log_capital(-counts, 0.0, delta, bet.bound) >= np.log(1 / delta)) == (at > high)
