"""What the intervals of estimates cover, and how often there is one.

Rows are simulated, so that the truth is known. Of each way to estimate and each setting it says in
which share of the draws there is an interval (`given`), in which share of all draws one is given
that misses the truth (`missed`, .05 at most is promised), and in which the interval would miss it
without the rule that makes it honest (`missed_without_rule`): always given whatever the number of
events, or made of the scores' spread without their calibrator's error (`cbpe`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import ndtri

from benchmarks.intervals.scores import SHAPES, scored_draws
from evidence.estimation.estimates import Estimate, doubly_robust, inverse_propensity, self_normalised
from evidence.estimation.prediction_powered import PoweredEstimate, prediction_powered

RUNS, QUICK_RUNS = 1000, 100
SCORED_SHARE = 0.3  # of the draws, where each fits a score and refits its calibrator a hundred times
CONFIDENCE = 0.95
SIZES = (500, 2500, 20_000)  # decisions of a window
LOSSES = (0.005, 0.02, 0.1)  # of the retained, right at the last tier and wrong here; a third as many are won
RATES = (0.05, 0.2)  # exploration
ACCURACIES = (0.7, 0.95, 0.99)  # of the answers that a grader judges
GRADERS = ((0.5, 0.02), (0.1, 0.1), (0.02, 0.02))  # how often it calls wrong right, and right wrong
WINDOWS = (500, 10_000)  # decisions whose accuracy is read off their scores
CALIBRATED = (100, 300, 900, 3000)  # labelled rows that calibrate
Figures = dict[str, float | int | str | None]
Interval = tuple[float, float]
_Z = float(ndtri(0.5 + CONFIDENCE / 2.0))


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of one estimate's interval over the draws."""

    draws: int = 0
    given: int = 0
    missed: int = 0
    missed_without_rule: int = 0

    def add(self, interval: Interval | None, without_rule: Interval, truth: float) -> None:
        """One draw."""
        self.draws += 1
        self.missed_without_rule += not without_rule[0] <= truth <= without_rule[1]
        if interval is not None:
            self.given += 1
            self.missed += not interval[0] <= truth <= interval[1]

    def figures(self, name: str) -> Figures:
        """The three shares under a name."""
        return {
            f"{name}.given": self.given / self.draws,
            f"{name}.missed": self.missed / self.draws,
            f"{name}.missed_without_rule": self.missed_without_rule / self.draws,
        }


def measure(quick: bool) -> Figures:
    """Every setting, and the worst of each way to estimate."""
    runs = QUICK_RUNS if quick else RUNS
    figures: Figures = {"runs": runs, "error_of_missed": float(np.sqrt(0.05 * 0.95 / runs))}
    sizes = SIZES[:2] if quick else SIZES
    for at, (n, loss, rate) in enumerate(product(sizes, LOSSES, RATES)):
        figures |= _over(
            _drops(n, loss, rate, np.random.default_rng([1, at]), runs), f"drop.n{n}.loss{loss}.rate{rate}"
        )
    for at, (n, right, errs) in enumerate(product(sizes, ACCURACIES, GRADERS)):
        name = f"graded.n{n}.accuracy{right}.errs{errs[0]}_{errs[1]}"
        figures |= _over(_graded(n, right, errs, np.random.default_rng([2, at]), runs), name)
    for at, (calibrated, n, shape) in enumerate(product(CALIBRATED, WINDOWS[:1] if quick else WINDOWS, SHAPES)):
        rng, tally = np.random.default_rng([3, at]), Tally()
        for by_scores, plain, truth in scored_draws(n, calibrated, shape, rng, round(SCORED_SHARE * runs)):
            tally.add(_ends(by_scores.low, by_scores.high), _ends(plain.low, plain.high) or (0.0, 1.0), truth)
        figures |= tally.figures(f"cbpe.calibrated{calibrated}.n{n}.{shape}")
    return _worst(figures) | figures


def _ends(low: float | None, high: float | None) -> Interval | None:
    return None if low is None or high is None else (low, high)


Draws = Iterator[tuple[dict[str, Estimate | PoweredEstimate], float]]


def _over(draws: Draws, name: str) -> Figures:
    tallies: dict[str, Tally] = {}
    for estimates, truth in draws:
        for way, estimate in estimates.items():
            reach = _Z * estimate.standard_error
            plain = estimate.value - reach, estimate.value + reach
            tallies.setdefault(way, Tally()).add(_ends(estimate.lower, estimate.upper), plain, truth)
    figures: Figures = {}
    for way, tally in tallies.items():
        figures |= tally.figures(f"{way}.{name}")
    return figures


def _drops(n: int, loss: float, rate: float, rng: np.random.Generator, runs: int) -> Draws:
    """The drop of a cascade that retains half, estimated from what is explored, each coin known."""
    for _ in range(runs):
        retained, luck = rng.random(n) < 0.5, rng.random(n)
        x = np.where(retained, np.where(luck < loss, 1.0, np.where(luck < 4 / 3 * loss, -1.0, 0.0)), 0.0)
        chance = np.where(retained, rate, 1.0)
        seen = rng.random(n) < chance
        shown, forecast = np.where(seen, x, np.nan), np.where(retained, 0.6 * loss, 0.0)
        yield (
            {
                "inverse_propensity": inverse_propensity(shown, seen, chance),
                "doubly_robust": doubly_robust(shown, seen, chance, forecast),
                "self_normalised": self_normalised(shown, seen, chance, reach=(-1.0, 1.0)),
            },
            loss / 3.0,
        )


def _graded(n: int, right: float, errs: tuple[float, float], rng: np.random.Generator, runs: int) -> Draws:
    """Accuracy from a grader's verdicts on all answers and trusted labels of a tenth of them."""
    for _ in range(runs):
        truth = rng.random(n) < right
        verdict = np.where(truth, rng.random(n) >= errs[1], rng.random(n) < errs[0])
        seen = rng.random(n) < 0.1
        if seen.sum() < 2:
            continue
        shown = np.where(seen, truth.astype(np.float64), np.nan)
        yield {"prediction_powered": prediction_powered(verdict, shown, seen, np.full(n, 0.1))}, right


def _worst(figures: Figures) -> Figures:
    """Of each way to estimate the largest share of draws with a miss, with and without the rule."""
    worst: dict[str, float] = {}
    for name, value in figures.items():
        way, what = name.partition(".")[0], name.rpartition(".")[2]
        if what.startswith("missed") and isinstance(value, float):
            worst[f"{way}_{what}_max"] = max(value, worst.get(f"{way}_{what}_max", 0.0))
    return dict(worst)
