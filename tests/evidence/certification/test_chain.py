"""Chains: several fixed paths, the one that saves most, and what saves nothing refused by name."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from evidence.certification.certificate import Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.certification.chain import ChainCertification, certify_chain
from evidence.certification.path import OOD_AT_MOST, chain_paths, pace_of, path_of
from evidence.errors import InvalidInputError
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import FloatArray
from knowgate.policy import Policy, PolicyKind, kept_tiers
from knowgate.spec import TargetKind

EPSILON, DELTA = 0.05, 0.1
DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=EPSILON)
COSTS = np.array([7.0, 13.0, 70.0])  # of a run of each tier; a query pays for all up to the one that is kept


def saves_at(costs: FloatArray) -> Callable[..., float]:
    return lambda kept, *_: 1.0 - float(np.cumsum(costs)[kept].mean() / costs[-1])


def weak_first(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    """P(T) [n, 2] and outcomes [n, 3] of a first tier that hardly knows what it knows, and a second
    that does.
    """
    hardness = rng.random(n)
    last = rng.random(n) < 0.9 - 0.2 * hardness
    second = np.where(hardness < 0.7, last, rng.random(n) < 0.35)
    first = rng.random(n) < 0.45
    p_t = np.column_stack([rng.random(n), np.clip(1.0 - hardness + rng.normal(0, 0.05, n), 0.0, 1.0)])
    return p_t, np.column_stack([first, second, last]).astype(float)


def chosen(p_t: FloatArray, correct: FloatArray, costs: FloatArray = COSTS, share: float = 0.05) -> ChainCertification:
    signals = [{"p_t": column} for column in p_t.T]
    paths = chain_paths(PolicyKind.P_T, signals)
    rows = CertificationRows(correct=correct)
    saves = saves_at(costs)
    return certify_chain(PolicyKind.P_T, signals, rows, DROP, DELTA, paths=paths, saves=saves, min_retained_share=share)


def thresholds_of(path: list[Thresholds], tier: int) -> list[float | None]:
    return [None if (gates := at[tier]) is None else gates[0].threshold for at in path]


def test_a_tier_opens_at_its_pace_beside_the_next_one_and_not_at_all_at_none() -> None:
    rng = np.random.default_rng(1)
    signals = [{"p_t": rng.random(1000)}, {"p_t": rng.random(1000)}]
    together, quarter, closed = chain_paths(PolicyKind.P_T, signals)
    assert together == path_of(PolicyKind.P_T, signals)
    assert set(thresholds_of(closed, 0)) == {None}
    assert thresholds_of(closed, 1) == thresholds_of(quarter, 1) == thresholds_of(together, 1)
    passing = [(signals[0]["p_t"] >= at).mean() for at in thresholds_of(quarter, 0) if at is not None]
    assert passing[-1] == 0.25
    assert passing[239] == pytest.approx(0.125, abs=0.002)
    assert pace_of(0.25, 3) == (0.0625, 0.25, 1.0)


def test_a_tier_that_retains_nothing_has_no_out_of_distribution_gate_either() -> None:
    shown = {name: np.random.default_rng(2).random(50) for name in ("p_ik", "p_t", "ood")}
    path = path_of(PolicyKind.GATES, [shown, shown], pace=(0.0, 1.0))
    assert path[0][0] is None
    assert [gate.threshold for gate in path[0][1] or ()][-1] == OOD_AT_MOST


def test_a_chain_with_a_weak_first_tier_saves_where_tiers_that_open_together_cost_more() -> None:
    p_t, correct = weak_first(np.random.default_rng(3), 4000)
    signals = [{"p_t": column} for column in p_t.T]
    together = certify_policy(PolicyKind.P_T, signals, CertificationRows(correct=correct), DROP, DELTA)
    kept = kept_tiers(Policy(kind=PolicyKind.P_T, rules=together.thresholds), signals)
    answer = chosen(p_t, correct)
    assert answer.certification.status is CertificateStatus.CERTIFIED
    assert answer.savings is not None
    assert answer.savings > saves_at(COSTS)(kept) + 0.2
    assert answer.certification.thresholds[0] is None


def test_it_is_chosen_by_what_it_saves_and_not_by_what_it_retains() -> None:
    """The first tier is right on three queries in five, the second on little more: where the second
    is dear, stopping at the first saves more.
    """
    scores = 1.0 - np.arange(1000) / 1000
    correct = np.ones((1000, 3))
    correct[600:, 0], correct[650:, 1] = 0.0, 0.0
    cheap, dear = (
        chosen(np.column_stack([scores, scores]), correct, np.array([1.0, second, 100.0])).certification
        for second in (2.0, 40.0)
    )
    assert cheap.status is dear.status is CertificateStatus.CERTIFIED
    assert dear.retained_share < cheap.retained_share


def test_each_path_is_walked_at_its_share_of_delta_and_the_certificate_names_the_whole() -> None:
    p_t, correct = weak_first(np.random.default_rng(4), 1500)
    signals = [{"p_t": column} for column in p_t.T]
    rows = CertificationRows(correct=correct)
    answer = chosen(p_t, correct).certification
    alone = [
        certify_policy(PolicyKind.P_T, signals, rows, DROP, DELTA / 3, path=path)
        for path in chain_paths(PolicyKind.P_T, signals)
    ]
    assert replace(answer, delta=DELTA / 3) in alone
    assert answer.delta == DELTA


def test_two_tiers_have_one_path_at_the_whole_delta() -> None:
    rng = np.random.default_rng(5)
    p_t = rng.random(1000)
    correct = np.column_stack([rng.random(1000) < p_t, np.ones(1000)]).astype(float)
    signals = [{"p_t": p_t}]
    rows = CertificationRows(correct=correct)
    answer = certify_chain(
        PolicyKind.P_T,
        signals,
        rows,
        DROP,
        DELTA,
        paths=chain_paths(PolicyKind.P_T, signals),
        saves=saves_at(np.array([1.0, 10.0])),
    )
    assert answer.certification == certify_policy(PolicyKind.P_T, signals, rows, DROP, DELTA)


def test_what_keeps_the_promise_and_saves_nothing_is_refused_by_name() -> None:
    p_t, correct = weak_first(np.random.default_rng(3), 4000)
    answer = chosen(p_t, correct, np.array([40.0, 50.0, 70.0]))
    assert answer.certification.status is CertificateStatus.SAVES_NOTHING
    assert answer.certification.thresholds == (None, None)
    assert answer.certification.retained_share == 0.0
    assert answer.savings is not None
    assert answer.savings <= 0.0


def test_without_costs_what_keeps_most_from_the_last_tier_is_certified() -> None:
    p_t, correct = weak_first(np.random.default_rng(3), 4000)
    signals = [{"p_t": column} for column in p_t.T]
    rows, paths = CertificationRows(correct=correct), chain_paths(PolicyKind.P_T, signals)
    answer = certify_chain(PolicyKind.P_T, signals, rows, DROP, DELTA, paths=paths, saves=lambda *_: None)
    shares = [
        certify_policy(PolicyKind.P_T, signals, rows, DROP, DELTA / 3, path=path).retained_share for path in paths
    ]
    assert answer.savings is None
    assert answer.certification.retained_share == max(shares)


def test_a_chain_is_infeasible_only_where_every_path_is() -> None:
    rng = np.random.default_rng(6)
    p_t = rng.random((3000, 2))
    neither, second = np.zeros((3000, 3)), np.zeros((3000, 3))
    neither[:, 2] = second[:, 2] = 1.0
    second[: round(0.94 * 3000), 1] = 1.0
    assert chosen(p_t, neither, share=0.2).certification.status is CertificateStatus.INFEASIBLE
    few = chosen(p_t[::30], second[::30], share=0.2).certification
    assert few.status is CertificateStatus.INSUFFICIENT_EVIDENCE
    assert few.labels_needed is not None


def test_an_empty_path_is_refused() -> None:
    rows = CertificationRows(correct=np.ones((5, 3)))
    signals = [{"p_t": np.ones(5)}] * 2
    with pytest.raises(InvalidInputError, match="empty path"):
        certify_chain(PolicyKind.P_T, signals, rows, DROP, DELTA, paths=[[]], saves=lambda *_: None)


@pytest.mark.slow
def test_a_chain_chosen_by_savings_breaks_its_promise_in_at_most_delta_of_all_draws() -> None:
    rng, runs = np.random.default_rng(7), 120
    p_t, correct = weak_first(rng, 30_000)
    signals = [{"p_t": column} for column in p_t.T]
    broken = 0
    for _ in range(runs):
        rows = rng.integers(0, len(p_t), 1200)
        answer = chosen(p_t[rows], correct[rows]).certification
        if answer.status is CertificateStatus.CERTIFIED:
            kept = kept_tiers(Policy(kind=PolicyKind.P_T, rules=answer.thresholds), signals)
            broken += float((correct[:, -1] - correct[np.arange(len(kept)), kept]).mean()) > EPSILON
    assert broken / runs <= DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / runs)
