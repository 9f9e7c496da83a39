"""Fifty-two weeks of retraining: which promise is kept, and how much is in force?

Years are drawn from recorded outcomes, so it is known in every week whether the thresholds in force
break the target. Side by side on the same weeks, the first three through the product's own
functions:

- `rolling`, with the window that its rule chooses;
- `season`, one that lasts for the whole year;
- `quarters`, four seasons, each begun on the rows of the last W weeks, as the trainer begins them;
- `former`: the k-th weekly attempt on four weeks has 6δ/(π²k²), and a challenger that gives savings
  away is declined;
- `plug_in`: what seems to keep the target on four weeks.

`in_force_*` are shares of the best level that truly keeps the target in that week, `bad_weeks_*` of
the weeks that break it, `family_*` of the years in which any week does (of `quarters`: of the
quarters). A season needs a path that lasts, so it has no figures where scores are learned anew
every week.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from benchmarks.certify.populations import TWO_TIERS, Population, recorded
from benchmarks.shape import Figures, recorded_data
from benchmarks.weeks.world import Level, Path, Scenario, Week, year
from evidence.bounds.exact_drop import drop_refuted
from evidence.bounds.spending import delta_for_attempt
from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.certification.nested_path import NestedCounts
from evidence.certification.rolling import LEAST_PERIODS, certifying_periods
from evidence.certification.season import QUARTER, Season, season_of, with_look, with_rows
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import IntArray
from knowgate.policy import PolicyKind
from knowgate.spec import TargetKind

EPSILON, DELTA = 0.02, 0.1
FIRST = TWO_TIERS[0]  # the population that is measured in all scenarios
TARGET = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=EPSILON)
HELD_TO_PRODUCT = 3  # weeks of the first year whose walk is held to `certify_policy`
QUARTER_WEEKS = QUARTER // timedelta(weeks=1)
OF_SEASONS = ("season", "quarters")
GIVEN_AWAY = 0.01  # of the retained share: a challenger that keeps so much less was declined


@dataclass(slots=True)
class Kept:
    """What a year has gathered so far."""

    population: Population
    window: list[IntArray] = field(default_factory=list)  # the rows of each week since the last alarm, newest first
    season: Season | None = None  # of the whole year
    quarter: Season | None = None  # of the quarter, begun as the trainer begins it
    attempts: int = 0
    held: int = 0  # walks still to be held to the product


def measure(quick: bool) -> Figures:
    folder = recorded_data()
    if folder is None:
        return {"skipped": "the recorded outcomes are not here; set KNOWGATE_RECORDED_DATA"}
    years = 3 if quick else 100
    pieces = [(FIRST, scenario, weekly) for scenario in Scenario for weekly in (3500, 350)]
    pieces += [(name, Scenario.STATIONARY, weekly) for name in TWO_TIERS[1:] for weekly in (3500, 350)]
    figures: dict[str, float | int | str | None] = {"epsilon": EPSILON, "delta": DELTA, "years": years}
    for name, scenario, weekly in pieces:
        prefix = "" if name == FIRST else f"{name}."
        measured = {
            f"{prefix}{key}": value for key, value in years_of(recorded(folder, name), scenario, weekly, years).items()
        }
        sys.stderr.write("".join(f"{key}  {value:.4g}\n" for key, value in measured.items()))
        figures |= measured
    figures |= {f"in_force_{weekly}": figures[f"in_force_rolling_stationary_{weekly}"] for weekly in (3500, 350)}
    return figures


def years_of(
    population: Population, scenario: Scenario, weekly: int, years: int, schedules: Sequence[str] = ()
) -> dict[str, float]:
    """The figures of one population, scenario and number of labels a week, of these schedules or of
    all; the weeks are the same ones for whichever are asked.
    """
    rng = np.random.default_rng(20260601)
    names = [name for name in schedules or SCHEDULES if scenario is not Scenario.RETRAINED or name not in OF_SEASONS]
    shares: dict[str, list[float]] = {name: [] for name in names}
    bad: dict[str, list[list[bool]]] = {name: [] for name in names}
    for number in range(years):
        kept = Kept(population=population, held=HELD_TO_PRODUCT if number == 0 else 0)
        in_force: dict[str, Level] = {}
        for of_year in bad.values():
            of_year.append([])
        for week in year(population, scenario, weekly, rng):
            if week.cut:  # nothing is in force, and nothing from before the alarm counts
                in_force, kept = {}, Kept(population=population)
            if week.number >= 0:
                best = _best_share(week)
                for name in names:
                    level = in_force[name] = SCHEDULES[name](kept, week, in_force.get(name))
                    shares[name].append(level.total(week.mix) / best)
                    bad[name][-1].append(level.total(week.cost) > EPSILON)
            _add(kept, week, names)
    ending = f"{scenario}_{weekly}"
    figures: dict[str, float] = {}
    for name in names:
        weeks = np.array(bad[name])
        figures[f"in_force_{name}_{ending}"] = float(np.mean(shares[name]))
        figures[f"bad_weeks_{name}_{ending}"] = float(weeks.mean())
        figures[f"bad_weeks_error_{name}_{ending}"] = float(weeks.mean(axis=1).std() / np.sqrt(years))
        families = weeks.reshape(years, -1, QUARTER_WEEKS) if name == "quarters" else weeks
        figures[f"family_{name}_{ending}"] = float(families.any(axis=-1).mean())
    return figures


def _best_share(week: Week) -> float:
    """What the boldest level keeps that truly keeps the target in this week."""
    keeps = np.flatnonzero(week.path.totals(week.cost) <= EPSILON)
    return float(week.path.totals(week.mix)[keeps[-1] if keeps.size else 0])


def _add(kept: Kept, week: Week, names: list[str]) -> None:
    kept.window.insert(0, week.rows)
    if "season" in names:
        kept.season = _counted(kept, week.path, kept.season, week.rows)
    if kept.quarter is not None:
        kept.quarter = _counted(kept, week.path, kept.quarter, week.rows)


def _counted(kept: Kept, path: Path, season: Season | None, queries: IntArray) -> Season:
    """The season, or a new one, after these queries."""
    season = season_of(path.thresholds, TARGET, DELTA) if season is None else season
    rows = CertificationRows(correct=kept.population.correct[queries])
    return with_look(with_rows(season, path.entry[queries][:, None], rows))


def _rolling(kept: Kept, week: Week, _: Level | None) -> Level:
    periods = certifying_periods([len(rows) for rows in kept.window])
    return _walk(kept, week.path, periods, DELTA)


def _season(kept: Kept, week: Week, _: Level | None) -> Level:
    return Level(path=week.path, number=0 if kept.season is None else kept.season.certified)


def _quarters(kept: Kept, week: Week, _: Level | None) -> Level:
    if kept.window and (kept.quarter is None or week.number % QUARTER_WEEKS == 0):
        periods = certifying_periods([len(rows) for rows in kept.window])
        kept.quarter = _counted(kept, week.path, None, np.concatenate(kept.window[:periods]))
    return Level(path=week.path, number=0 if kept.quarter is None else kept.quarter.certified)


def _former(kept: Kept, week: Week, champion: Level | None) -> Level:
    kept.attempts += 1
    newest = _walk(kept, week.path, LEAST_PERIODS, delta_for_attempt(DELTA, kept.attempts))
    declined = champion is not None and newest.total(week.mix) < champion.total(week.mix) - GIVEN_AWAY
    return champion if champion is not None and declined else newest


def _plug_in(kept: Kept, week: Week, _: Level | None) -> Level:
    counts = _counts(kept, week.path, LEAST_PERIODS)
    if counts is None:
        return Level(path=week.path, number=0)
    seems = np.flatnonzero((counts.plus - counts.minus) / counts.n <= EPSILON)
    return Level(path=week.path, number=int(seems[-1]) + 1 if seems.size else 0)


SCHEDULES: dict[str, Callable[[Kept, Week, Level | None], Level]] = {
    "rolling": _rolling,
    "season": _season,
    "quarters": _quarters,
    "former": _former,
    "plug_in": _plug_in,
}


def _counts(kept: Kept, path: Path, periods: int) -> NestedCounts | None:
    if not kept.window or periods == 0:
        return None
    rows = np.concatenate(kept.window[:periods])
    logged = CertificationRows(correct=kept.population.correct[rows])
    return NestedCounts(len(path.thresholds), path.entry[rows][:, None], logged)


def _walk(kept: Kept, path: Path, periods: int, delta: float) -> Level:
    """The levels that the walk passes: the product's, without the figures that a certificate also
    carries.
    """
    counts = _counts(kept, path, periods)
    passed = 0
    if counts is None:
        return Level(path=path, number=passed)
    while passed < len(path.thresholds) and drop_refuted(
        int(counts.plus[passed]), int(counts.minus[passed]), counts.n, EPSILON, delta
    ):
        passed += 1
    if kept.held > 0:
        kept.held -= 1
        hold_to_product(kept, path, periods, delta, passed)
    return Level(path=path, number=passed)


def hold_to_product(kept: Kept, path: Path, periods: int, delta: float, passed: int) -> None:
    """Raises AssertionError where `certify_policy` chooses another level."""
    rows = np.concatenate(kept.window[:periods])
    answer = certify_policy(
        PolicyKind.P_T,
        [{"p_t": path.scores[rows]}],
        CertificationRows(correct=kept.population.correct[rows]),
        TARGET,
        delta,
        path=path.thresholds,
        min_retained_share=0.0,
    )
    chosen = answer.thresholds if answer.status is CertificateStatus.CERTIFIED else None
    ours = path.thresholds[passed - 1] if passed else None
    if chosen != ours:
        raise AssertionError(f"certify_policy chose {chosen}, the cut-down walk {ours}")
