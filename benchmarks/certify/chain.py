"""What a certified chain of three tiers truly saves, beside the best pair of thresholds on the
population and the one path that opens both tiers together.

Costs are proportional to parameters, since none are recorded; every tier before the one that is
kept is paid for. What is not certified saves nothing and costs nothing: the last tier is asked
alone.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.certify.populations import Population
from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.chain import certify_chain
from evidence.certification.path import chain_paths
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import FloatArray, IntArray
from knowgate.policy import Policy, PolicyKind, kept_tiers
from knowgate.spec import TargetKind

COSTS = np.array([7.0, 13.0, 70.0])  # parameters in 10⁹
GRID = 160  # thresholds per tier that the best pair is looked for among


def chain_savings(
    population: Population, epsilon: float, delta: float, rows: Sequence[IntArray]
) -> dict[str, float | int | str | None]:
    """Per resample the chain as the product certifies it, and by its one equal path: mean true
    savings over those of the best pair, and how often what is certified costs more than the last
    tier alone, or breaks its promise.
    """
    best = best_pair_savings(population, epsilon)
    figures: dict[str, float | int | str | None] = {"best_pair_savings": best}
    for name, paths in (("", None), ("one_path_", 1)):
        savings, broken = [], 0
        for drawn in rows:
            kept = _certified(population, drawn, epsilon, delta, paths)
            savings.append(_saved(kept))
            broken += population.drop_of(kept) > epsilon + 1e-9
        figures |= {
            f"{name}chain_savings_share": float(np.mean(savings)) / best,
            f"{name}chain_costs_more": float((np.array(savings) < 0.0).mean()),
            f"{name}chain_violations": broken / len(rows),
        }
    return figures


def best_pair_savings(population: Population, epsilon: float) -> float:
    """The most that two thresholds save on the population while they keep the target; 0 where none
    saves anything.
    """
    bins = [_bins(population.p_t[:, tier]) for tier in (0, 1)]
    first, second = (population.correct[:, 2] - population.correct[:, tier] for tier in (0, 1))
    kept_first = np.cumsum(np.bincount(bins[0], minlength=GRID + 1)[:GRID])
    drop_first = np.cumsum(np.bincount(bins[0], first, minlength=GRID + 1)[:GRID])
    kept_second, drop_second = (_beyond(bins, weight) for weight in (np.ones(population.n), second))
    n = population.n
    drop = (np.append(0.0, drop_first)[:, None] + drop_second) / n
    asked_second = 1.0 - np.append(0.0, kept_first)[:, None] / n
    cost = COSTS[0] + asked_second * COSTS[1] + (asked_second - kept_second / n) * COSTS[2]
    return max(0.0, float((1.0 - cost / COSTS[2])[drop <= epsilon].max()))


def _bins(scores: FloatArray) -> IntArray:
    """[n] the first of the grid's thresholds, from the highest down, that a score passes."""
    grid = np.quantile(scores, 1.0 - np.arange(1, GRID + 1) / GRID, method="lower")
    return np.asarray(np.searchsorted(-grid, -scores), dtype=np.int64)


def _beyond(bins: Sequence[IntArray], weight: FloatArray) -> FloatArray:
    """[GRID + 1, GRID + 1] the sum of weights that the first tier's i most conservative thresholds
    pass on and the second tier's j keep.
    """
    table = np.zeros((GRID + 1, GRID + 1))
    np.add.at(table, (bins[0], bins[1]), weight)
    passed_on = np.cumsum(table[::-1], axis=0)[::-1]
    return np.hstack([np.zeros((GRID + 1, 1)), np.cumsum(passed_on, axis=1)[:, :GRID]])


def _certified(population: Population, drawn: IntArray, epsilon: float, delta: float, paths: int | None) -> IntArray:
    """[n] the tier that each query of the population is kept at by what these rows certify."""
    signals = [{"p_t": column} for column in population.p_t[drawn].T]
    answer = certify_chain(
        PolicyKind.P_T,
        signals,
        CertificationRows(correct=population.correct[drawn]),
        Target(kind=TargetKind.MAX_ACCURACY_DROP, value=epsilon),
        delta,
        paths=chain_paths(PolicyKind.P_T, signals)[:paths],
        saves=_saved if paths is None else lambda *_: None,
        min_retained_share=0.05,
    ).certification
    if answer.status is not CertificateStatus.CERTIFIED:
        return np.full(population.n, population.correct.shape[1] - 1, dtype=np.int64)
    policy = Policy(kind=PolicyKind.P_T, rules=answer.thresholds)
    return kept_tiers(policy, [{"p_t": column} for column in population.p_t.T])


def _saved(kept: IntArray, _: Policy | None = None) -> float:
    """The share of the last tier's cost; where nothing is kept, nobody asks the others."""
    if (kept == len(COSTS) - 1).all():
        return 0.0
    return 1.0 - float(np.cumsum(COSTS)[kept].mean() / COSTS[-1])
