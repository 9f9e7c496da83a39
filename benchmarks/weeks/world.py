"""The weeks of a simulated year: queries drawn from recorded outcomes whose mix may change, and
scores that may be learned anew.

A population is a finite list of queries, so the true drop of every level of a path is known in
every week. What drifts is how often the queries come on which the small tier costs accuracy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import expit, logit

from benchmarks.certify.populations import Population
from evidence.certification.certificate import Thresholds
from evidence.certification.path import path_of
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate.policy import PolicyKind

WEEKS = 52
BEFORE = 4  # weeks whose rows are there when the year begins
SHIFT, ALARM = 26, 28  # of the year: the mix shifts at once, and the risk alarm has heard it
HARDER = 2.0  # how much likelier the queries that lose become, over the year or at once
RELEARNED = 0.5  # standard deviation of a newly learned score's logit about the recorded one


class Scenario(StrEnum):
    STATIONARY = "stationary"
    RETRAINED = "retrained"  # scores are learned anew every week, so no path lasts
    DRIFT = "drift"
    SHIFT = "shift"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path:
    """A score, its path, and where every query of the population enters it."""

    scores: FloatArray  # [n]
    thresholds: tuple[Thresholds, ...]
    entry: IntArray  # [n] the first level under which the query is kept

    def totals(self, values: FloatArray) -> FloatArray:
        """[levels] the sum of the values [n] of what each level keeps."""
        levels = len(self.thresholds)
        return np.asarray(np.cumsum(np.bincount(self.entry, values, minlength=levels + 1))[:levels], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """So many levels of a path are certified; none where the number is 0."""

    path: Path
    number: int

    def total(self, values: FloatArray) -> float:
        """The sum of the values [n] of what is kept."""
        return float(values[self.path.entry < self.number].sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Week:
    """What came in one week."""

    number: int  # of the year; below 0 before it
    path: Path  # that of the newest score
    rows: IntArray  # [weekly] queries of the population
    mix: FloatArray  # [n] how likely each query is
    cost: FloatArray  # [n] what keeping it costs in accuracy, times how likely it is
    cut: bool  # the risk alarm rang as the week began: what came before counts no more


def path_on(scores: FloatArray) -> Path:
    """The product's own path of these scores, in its order."""
    thresholds = tuple(path_of(PolicyKind.P_T, [{"p_t": scores}]))
    at = np.array([gates[0].threshold for (gates,) in thresholds if gates is not None])
    return Path(scores=scores, thresholds=thresholds, entry=np.searchsorted(-at, -scores))


def year(population: Population, scenario: Scenario, weekly: int, rng: np.random.Generator) -> Iterator[Week]:
    """The weeks before a year and of it, in order."""
    recorded, x = population.p_t[:, 0], population.correct[:, 1] - population.correct[:, 0]
    path = path_on(recorded)
    for number in range(-BEFORE, WEEKS):
        if scenario is Scenario.RETRAINED:
            noise = RELEARNED * rng.standard_normal(len(recorded))
            path = path_on(expit(logit(np.clip(recorded, 1e-6, 1.0 - 1e-6)) + noise))
        mix = _mix(scenario, number, x > 0)
        yield Week(
            number=number,
            path=path,
            rows=rng.choice(len(recorded), weekly, p=mix),
            mix=mix,
            cost=mix * x,
            cut=scenario is Scenario.SHIFT and number == ALARM,
        )


def _mix(scenario: Scenario, number: int, loses: BoolArray) -> FloatArray:
    """[n] how likely each query is in this week."""
    harder = 1.0
    if scenario is Scenario.DRIFT:
        harder = 1.0 + (HARDER - 1.0) * max(number, 0) / WEEKS
    if scenario is Scenario.SHIFT and number >= SHIFT:
        harder = HARDER
    weight = np.where(loses, harder, 1.0)
    return np.asarray(weight / weight.sum(), dtype=np.float64)
