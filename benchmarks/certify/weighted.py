"""Certification and estimates from the labels that production gives, with the naive reading beside
them.

Each scenario is a log of a cascade whose champion keeps `CHAMPION` of the queries. It says which
outcomes are known and by what chance. The naive reader takes the rows that happen to be known as if
they were all: his estimate of the champion's drop, and the threshold that he would choose from
them, stand beside ours. The other choosers get the weights A/π.

Exploration runs the last tier. A tier in between that a query's way left out stays unknown, so on a
chain the candidates start at the champion and only open further: each of them is known wherever the
coin fell. That restriction looks at no label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from benchmarks.certify.ours import HELD_TO_PRODUCT, Sample, certified, coins
from benchmarks.certify.populations import Population
from benchmarks.certify.rivals import (
    Candidates,
    Choice,
    at_thresholds,
    kept_under,
    loss_under,
    passes_plug_in,
    rival_path,
    rivals,
)
from evidence.errors import NotIdentifiedError
from evidence.estimation.estimates import doubly_robust, inverse_propensity
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate.policy import Policy
from monitoring.figures.estimates import Estimated, of_part, stratified_mean

CHAMPION = 0.3  # share of the queries that the logging policy keeps
SCENARIOS = ("exploration_5", "exploration_10", "missing_by_score", "served_feedback_only")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Log:
    """What is known of n queries."""

    p_t: FloatArray  # [n, tiers − 1]
    correct: FloatArray  # [n, tiers], NaN = unknown
    observed: BoolArray  # [n] whether the coin fell
    propensity: FloatArray  # [n] its chance, NaN = there is none
    kept: IntArray  # [n] the tier that served
    first: tuple[float, ...] | None  # the thresholds that candidates start at; None: anywhere

    @property
    def bound(self) -> float:
        """The largest weight, 1 where nothing is drawn by a coin."""
        return 1.0 if not self.observed.any() else float(1.0 / self.propensity.min())

    def sample(self, ids: tuple[str, ...], thinning: FloatArray) -> Sample:
        """What is certified on; where nothing is drawn by a coin, unknown outcomes count as the
        worst case.
        """
        if not self.observed.any():
            return Sample(p_t=self.p_t, correct=self.correct)
        return Sample(
            p_t=self.p_t,
            correct=self.correct,
            propensity=self.propensity,
            observed=self.observed,
            ids=ids,
            coins=thinning,
            first=self.first,
        )

    def weighted(self, x: FloatArray) -> FloatArray:
        """[n] (A/π)·x, an unknown x as +1: without a coin every row counts once."""
        x = np.nan_to_num(x, nan=1.0)
        return x if not self.observed.any() else np.where(self.observed, x / self.propensity, 0.0)


def champion_of(population: Population) -> tuple[float, ...]:
    """The thresholds, at one quantile level for every tier, under which CHAMPION of the queries are
    kept.
    """
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2.0
        at = tuple(float(np.quantile(column, 1 - middle)) for column in population.p_t.T)
        retained = (kept_under(at_thresholds(at), population.p_t) < population.p_t.shape[1]).mean()
        low, high = (low, middle) if retained > CHAMPION else (middle, high)
    return tuple(float(np.quantile(column, 1 - low)) for column in population.p_t.T)


def log_of(
    scenario: str, population: Population, champion: tuple[float, ...], rows: IntArray, rng: np.random.Generator
) -> Log:
    """A log of these rows of the population."""
    p_t, correct = population.p_t[rows], population.correct[rows].copy()
    tier, last = np.arange(correct.shape[1]), correct.shape[1] - 1
    kept = kept_under(at_thresholds(champion), p_t)
    propensity, observed = np.full(len(rows), np.nan), np.zeros(len(rows), dtype=np.bool_)
    if scenario.startswith("exploration"):
        propensity = np.where(kept < last, int(scenario.rsplit("_", 1)[1]) / 100, 1.0)
        observed = rng.random(len(rows)) < propensity
        correct[(tier > kept[:, None]) & (tier < last)] = np.nan
        correct[~observed, last] = np.nan
    elif scenario == "missing_by_score":
        propensity = 0.1 + 0.6 * (1.0 - p_t[:, 0])  # the surer the answer, the less often it is labelled
        observed = rng.random(len(rows)) < propensity
        correct[~observed] = np.nan
    else:  # feedback on the answer that was served: never two outcomes of one query
        correct[tier != kept[:, None]] = np.nan
    first = champion if scenario.startswith("exploration") and last > 1 else None
    return Log(p_t=p_t, correct=correct, observed=observed, propensity=propensity, kept=kept, first=first)


def measure_scenario(
    scenario: str, population: Population, epsilon: float, delta: float, n: int, reps: int
) -> dict[str, float | int | str | None]:
    """Share retained and violations of every chooser; bias of the estimates in standard errors."""
    seed = [20260, SCENARIOS.index(scenario), crc32(population.name.encode()), n]
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    champion = champion_of(population)
    ids = tuple(str(i) for i in range(n))
    thinning = coins(ids)
    truth = population.drop_of(kept_under(at_thresholds(champion), population.p_t))
    chosen: dict[str, list[Choice]] = {}
    estimates = _Estimates(truth)
    for at in range(reps):
        log = log_of(scenario, population, champion, rng.integers(0, population.n, n), rng)
        estimates.add(log)
        made = {
            "": certified(log.sample(ids, thinning), epsilon, delta, held_to_product=at < HELD_TO_PRODUCT),
            "naive_": _naive_choice(log, epsilon),
        }
        for name, choice in (made | _rivals(log, epsilon, delta)).items():
            chosen.setdefault(name, []).append(choice)
    figures: dict[str, float | int | str | None] = {"n": n, "epsilon": epsilon}
    for name, made_each in chosen.items():
        truths = [_truth(population, choice, epsilon) for choice in made_each]
        figures[f"{name}share"] = float(np.mean([share for share, _ in truths]))
        figures[f"{name}violations"] = float(np.mean([breaks for _, breaks in truths]))
    return figures | estimates.figures()


class _Estimates:
    """The champion's drop as estimated from each log, beside what it is."""

    def __init__(self, truth: float) -> None:
        self.truth = truth
        self.plain, self.robust, self.naive = list[float](), list[float](), list[float]()
        self.shown = list[float]()  # the figure that monitoring shows
        self.covered, self.intervals, self.missed = 0, 0, 0

    def add(self, log: Log) -> None:
        last = log.correct.shape[1] - 1
        x = np.where(log.kept == last, 0.0, log.correct[:, last] - log.correct[np.arange(len(log.kept)), log.kept])
        self.naive.append(_naive_estimate(log, x))
        try:
            weighted = inverse_propensity(np.where(log.observed, x, np.nan), log.observed, log.propensity)
        except NotIdentifiedError:
            return
        forecast = np.where(log.kept < last, 0.5 * (1.0 - log.p_t[:, 0]), 0.0)
        robust = doubly_robust(np.where(log.observed, x, np.nan), log.observed, log.propensity, forecast)
        self.plain.append(weighted.value)
        self.robust.append(robust.value)
        if weighted.lower is not None and weighted.upper is not None:
            self.intervals += 1
            self.missed += not weighted.lower <= self.truth <= weighted.upper
        shown = _shown(log, x, last)
        if shown.value is None or shown.low is None or shown.high is None:
            return
        self.shown.append(shown.value)
        self.covered += shown.low <= self.truth <= shown.high

    def figures(self) -> dict[str, float | int | str | None]:
        """The means, and how many Monte-Carlo standard errors they lie off; None: not
        identified.
        """
        known = bool(self.plain)
        return {
            "true_drop": self.truth,
            "naive_estimate": float(np.mean(self.naive)),
            "naive_off_in_errors": _in_errors(self.naive, self.truth),
            "estimate": float(np.mean(self.plain)) if known else None,
            "bias_in_errors": _in_errors(self.plain, self.truth) if known else None,
            "doubly_robust_bias_in_errors": _in_errors(self.robust, self.truth) if known else None,
            "doubly_robust_error_ratio": float(np.std(self.robust) / np.std(self.plain)) if known else None,
            "figure_bias_in_errors": _in_errors(self.shown, self.truth) if self.shown else None,
            "figures_shown": len(self.shown),  # of the logs; the others say that nothing explored is known
            "coverage_of_95": self.covered / len(self.shown) if self.shown else None,
            "intervals_inverse_propensity": self.intervals / len(self.plain) if known else None,
            # An interval that is not given misses nothing.
            "coverage_of_95_inverse_propensity": 1.0 - self.missed / len(self.plain) if known else None,
        }


def _shown(log: Log, x: FloatArray, last: int) -> Estimated:
    """The drop as monitoring shows it: the retained share times the mean of X where the answer was
    retained.
    """
    retained = log.kept < last
    part = stratified_mean(
        np.where(log.observed, x, np.nan)[retained],
        log.propensity[retained],
        np.zeros(int(retained.sum())),
        what="labels",
        reach=(-1.0, 1.0),
    )
    return of_part(part, int(retained.sum()), len(retained))


def _in_errors(values: list[float], truth: float) -> float:
    return float((np.mean(values) - truth) / (np.std(values, ddof=1) / np.sqrt(len(values))))


def _rivals(log: Log, epsilon: float, delta: float) -> dict[str, Choice]:
    """The other choosers on weighted losses, with the same start of the candidates."""
    policies = rival_path(log.p_t)
    if log.first is not None:
        policies = [at_thresholds(log.first), *(policy for policy in policies if _no_stricter(policy, log.first))]
    candidates = Candidates(policies, lambda policy: log.weighted(loss_under(policy, log.p_t, log.correct)))
    return {f"{name}_": candidates.boldest(passes) for name, passes in rivals(epsilon, delta, log.bound).items()}


def _no_stricter(policy: Policy, first: Sequence[float]) -> bool:
    return all(tier is not None and tier["p_t"] <= at for tier, at in zip(policy.thresholds, first, strict=True))


def _naive_estimate(log: Log, x: FloatArray) -> float:
    """The champion's drop read off the known rows as if they were all.

    Without any row known at two tiers, the naive reader compares the accuracy of what each tier
    served.
    """
    if log.observed.any():
        return float(x[log.observed].mean())
    retained, small, last = _served(log)
    return retained * (last - small)


def _naive_choice(log: Log, epsilon: float) -> Choice:
    """The boldest policy within ε on the known rows; all is retained where the served answers look
    alike.
    """
    if not log.observed.any():
        _, small, last = _served(log)
        return at_thresholds([0.0] * log.p_t.shape[1]) if small >= last - epsilon else None
    p_t, correct = log.p_t[log.observed], log.correct[log.observed]
    policies = rival_path(p_t)
    losses: Callable[[Policy], FloatArray] = lambda policy: _known(loss_under(policy, p_t, correct))  # noqa: E731
    return Candidates(policies, losses).boldest(passes_plug_in(epsilon))


def _known(x: FloatArray) -> FloatArray:
    seen = x[~np.isnan(x)]
    return seen if seen.size else np.ones(1)


def _served(log: Log) -> tuple[float, float, float]:
    """The share kept, and the accuracy of the answers that the smaller tiers and that the last one
    served.
    """
    last = log.correct.shape[1] - 1
    right = log.correct[np.arange(len(log.kept)), log.kept]
    small = log.kept < last
    return float(small.mean()), float(right[small].mean()), float(right[~small].mean())


def _truth(population: Population, choice: Choice, epsilon: float) -> tuple[float, bool]:
    """The population's share retained, and whether the promise is broken there."""
    if choice is None:
        return 0.0, False
    kept = kept_under(choice, population.p_t)
    return float((kept < population.p_t.shape[1]).mean()), population.drop_of(kept) > epsilon + 1e-9
