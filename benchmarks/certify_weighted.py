"""Certification and estimates from the labels that production gives, with the naive reading beside them.

Each scenario is a log of a cascade whose champion keeps `CHAMPION` of the queries. It says which outcomes are known and
by what chance. The naive reader takes the rows that happen to be known as if they were all: his estimate of the
champion's drop, and the threshold that he would choose from them, stand beside ours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.certify_populations import Population
from evidence import (
    CertificationRows,
    CertificationStatus,
    NotIdentifiedError,
    Target,
    TargetKind,
    certify_policy,
    inverse_propensity,
)
from knowgate.policy import Policy, PolicyKind, kept_tiers

FloatArray = npt.NDArray[np.float64]
CHAMPION = 0.3  # share of the queries that the logging policy keeps
SCENARIOS = ("exploration_5", "exploration_10", "missing_by_score", "served_feedback_only")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Log:
    """What is known of n queries."""

    p_t: FloatArray
    x: FloatArray  # last − small, of all rows: the truth
    observed: npt.NDArray[np.bool_]  # whether both outcomes are known
    propensity: FloatArray  # NaN = unknown


def log_of(scenario: str, population: Population, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> Log:
    """A log of these rows of the population."""
    p_t, correct = population.p_t[rows, 0], population.correct[rows]
    kept = p_t >= np.quantile(population.p_t[:, 0], 1 - CHAMPION)
    if scenario.startswith("exploration"):
        propensity = np.where(kept, int(scenario.rsplit("_", 1)[1]) / 100, 1.0)
    elif scenario == "missing_by_score":
        propensity = 0.1 + 0.6 * (1.0 - p_t)  # the surer the answer, the less often it is labelled
    else:  # feedback on the answer that was served: never both outcomes of one query
        return Log(
            p_t=p_t,
            x=correct[:, -1] - correct[:, 0],
            observed=np.zeros(len(rows), dtype=bool),
            propensity=np.full(len(rows), np.nan),
        )
    observed = rng.random(len(rows)) < propensity
    return Log(p_t=p_t, x=correct[:, -1] - correct[:, 0], observed=observed, propensity=propensity)


def measure_scenario(
    scenario: str, population: Population, epsilon: float, delta: float, n: int, reps: int
) -> dict[str, float | int | str | None]:
    """Share retained and violations of the certified threshold; bias of the estimate in standard errors."""
    rng = np.random.default_rng(np.random.SeedSequence([20260, SCENARIOS.index(scenario), population.n]))
    champion = Policy.of(PolicyKind.P_T, ({"p_t": float(np.quantile(population.p_t[:, 0], 1 - CHAMPION))},))
    truth = population.drop_of(kept_tiers(champion, [{"p_t": population.p_t[:, 0]}]))
    shares, broken, naive_shares, naive_broken, estimates, naive_estimates, covered, tests = (
        [],
        0,
        [],
        0,
        [],
        [],
        0,
        set(),
    )
    for _ in range(reps):
        rows = rng.integers(0, population.n, n)
        log = log_of(scenario, population, rows, rng)
        kept = kept_tiers(champion, [{"p_t": log.p_t}]) == 0
        threshold, test = _certified(population, rows, log, epsilon, delta)
        tests.add(test)
        share, breaks = _truth(population, threshold, epsilon)
        shares.append(share)
        broken += breaks
        naive_estimate, naive_threshold = _naive(population, rows, log, kept, epsilon)
        naive_estimates.append(naive_estimate)
        share, breaks = _truth(population, naive_threshold, epsilon)
        naive_shares.append(share)
        naive_broken += breaks
        try:
            told = inverse_propensity(np.where(log.observed, kept * log.x, np.nan), log.observed, log.propensity)
        except NotIdentifiedError:
            continue
        estimates.append(told.value)
        covered += told.lower <= truth <= told.upper
    figures: dict[str, float | int | str | None] = {
        "share": float(np.mean(shares)),
        "violations": broken / reps,
        "test": ", ".join(sorted(tests)),
        "true_drop": truth,
        "naive_share": float(np.mean(naive_shares)),
        "naive_violations": naive_broken / reps,
        "naive_estimate": float(np.mean(naive_estimates)),
        "naive_bias_in_errors": _in_errors(naive_estimates, truth),
        "estimate": float(np.mean(estimates)) if estimates else None,  # None: not identified
        "bias_in_errors": _in_errors(estimates, truth) if estimates else None,
        "coverage_of_95": covered / len(estimates) if estimates else None,
    }
    return figures


def _in_errors(values: list[float], truth: float) -> float:
    return float((np.mean(values) - truth) / (np.std(values, ddof=1) / np.sqrt(len(values))))


def _certified(
    population: Population, rows: npt.NDArray[np.int64], log: Log, epsilon: float, delta: float
) -> tuple[float | None, str]:
    correct = population.correct[rows].copy()
    correct[~log.observed] = np.nan
    # Where nothing is drawn by a coin there is none to state: unknown outcomes count as the worst case.
    coins = {"propensity": log.propensity, "observed": log.observed} if log.observed.any() else {}
    known = CertificationRows(correct=correct, ids=tuple(str(i) for i in range(len(rows))), **coins)
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=epsilon)
    answer = certify_policy(PolicyKind.P_T, [{"p_t": log.p_t}], known, target, delta)
    if answer.status is not CertificationStatus.CERTIFIED or answer.thresholds[0] is None:
        return None, str(answer.test)
    return answer.thresholds[0][0].value, str(answer.test)


def _naive(
    population: Population, rows: npt.NDArray[np.int64], log: Log, kept: npt.NDArray[np.bool_], epsilon: float
) -> tuple[float, float | None]:
    """The champion's drop and the boldest threshold within ε, read off the known rows as if they were all.

    Without any row known at both tiers, the naive reader compares the accuracy of what each tier served.
    """
    if not log.observed.any():
        correct = population.correct[rows]
        served_small, served_last = correct[kept, 0].mean(), correct[~kept, -1].mean()
        return float(kept.mean() * (served_last - served_small)), 0.0 if served_small >= served_last - epsilon else None
    p_t, x = log.p_t[log.observed], log.x[log.observed]
    order = np.argsort(-p_t, kind="stable")
    drops = np.cumsum(x[order]) / len(x)
    over = np.flatnonzero(drops > epsilon)
    last = (int(over[0]) if over.size else len(drops)) - 1
    return float((kept[log.observed] * x).mean()), None if last < 0 else float(p_t[order][last])


def _truth(population: Population, threshold: float | None, epsilon: float) -> tuple[float, bool]:
    """The population's share retained, and whether the promise is broken there."""
    if threshold is None:
        return 0.0, False
    kept = kept_tiers(Policy.of(PolicyKind.P_T, ({"p_t": threshold},)), [{"p_t": population.p_t[:, 0]}])
    return float((kept == 0).mean()), population.drop_of(kept) > epsilon
