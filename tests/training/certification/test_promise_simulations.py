"""Years of weekly attempts by the trainer's own functions, in a world whose true drop is known:
each promise is kept as it is worded.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evidence.bounds.spending import delta_for_attempt
from evidence.certification.path import chain_paths
from knowgate._records.arrays import FloatArray
from knowgate._records.records import Window
from knowgate.policy import Policy, PolicyKind, escalate_all, retain_mask
from knowgate.spec import Targets
from tests.training.certification.test_outcomes import rows_of, tier_of
from training.certification import seasons
from training.certification.certify import certify_kind
from training.certification.window import Periods
from training.rows.dataset import CascadeRows
from training.rows.splits import Part, Split

START, WEEK = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=7)
EPSILON, DELTA = 0.02, 0.1
TARGETS = Targets(rule=PolicyKind.P_T, value=EPSILON, delta=DELTA)
LAST = 0.9  # how often the last tier is right; the small one is as often as its P(T) says


def a_year(rng: np.random.Generator, weekly: int, weeks: int) -> CascadeRows:
    n = weekly * weeks
    p_t = rng.random(n)
    small = tier_of(n, correct=(rng.random(n) < p_t).astype(float), p_t=p_t)
    last = tier_of(n, correct=(rng.random(n) < LAST).astype(float))
    seconds = START.timestamp() + (np.arange(n) + 0.5) * WEEK.total_seconds() / weekly
    return rows_of(small, last, seconds=seconds)


def true_drop(threshold: float) -> float:
    """∫ (LAST − p) dp over what is retained."""
    return LAST * (1.0 - threshold) - (1.0 - threshold**2) / 2.0


def threshold_of(policy: Policy) -> float:
    rule = policy.rules[0]
    return 1.0 if rule is None else rule[0].threshold


def taken(rows: CascadeRows, start: float, end: float) -> tuple[CascadeRows, tuple[dict[str, FloatArray]]]:
    some = rows.take((rows.seconds >= start) & (rows.seconds < end))
    return some, ({"p_t": some.tiers[0].p_t},)


def rolling_and_former(rows: CascadeRows, weeks: int) -> tuple[list[float], list[float]]:
    """The thresholds in force in each week: by the rolling promise, and by the former schedule."""
    rolling, former = [], []
    for week in range(4, weeks):
        end = START + week * WEEK
        known, signals = taken(rows, START.timestamp(), end.timestamp())
        periods = Periods(read=Window(start=START, end=end), every=WEEK)
        since = periods.certifying(known, np.ones(known.n, dtype=np.bool_))
        spent = delta_for_attempt(DELTA, week - 3)
        for in_force, begin, delta in ((rolling, since, DELTA), (former, (end - 4 * WEEK).timestamp(), spent)):
            split = Split(parts=np.full(known.n, str(Part.CERTIFICATION)), prompts={}, since=begin)
            made = certify_kind(known, split, signals, TARGETS, kind=PolicyKind.P_T, delta=delta)
            assert made is not None
            newest = threshold_of(made.policy)
            in_force.append(min([newest, *in_force[-1:]]) if in_force is former else newest)
    return rolling, former


def in_season(rows: CascadeRows, weeks: int) -> list[float]:
    first, signals = taken(rows, START.timestamp(), (START + 4 * WEEK).timestamp())
    document = seasons.begin(PolicyKind.P_T, TARGETS, chain_paths(PolicyKind.P_T, signals), first, signals)
    assert document is not None
    in_force, begin = [], 0
    for week in range(4, weeks):
        batch, signals = taken(rows, (START + begin * WEEK).timestamp(), (START + week * WEEK).timestamp())
        counted = seasons.count(document, batch, signals, TARGETS)
        assert counted is not None
        document, begin = counted[0], week
        in_force.append(threshold_of(counted[1].policy))
    return in_force


@pytest.mark.slow
def test_years_of_weekly_attempts_break_each_promise_no_oftener_than_it_says() -> None:
    years, weeks, weekly = 20, 12, 300
    rng = np.random.default_rng(20260629)
    of_year: dict[str, list[list[float]]] = {"rolling": [], "former": [], "season": []}
    for _ in range(years):
        rows = a_year(rng, weekly, weeks)
        rolling, former = rolling_and_former(rows, weeks)
        for name, thresholds in (("rolling", rolling), ("former", former), ("season", in_season(rows, weeks))):
            of_year[name].append(thresholds)
    at = {name: np.array(thresholds) for name, thresholds in of_year.items()}
    broken = {name: np.vectorize(true_drop)(thresholds) > EPSILON for name, thresholds in at.items()}
    weeks_broken = broken["rolling"].mean(axis=1)
    assert weeks_broken.mean() <= DELTA + 2.0 * weeks_broken.std() / np.sqrt(years)
    assert broken["season"].any(axis=1).mean() <= DELTA + 2.0 * np.sqrt(DELTA * (1.0 - DELTA) / years)
    assert (np.diff(at["season"], axis=1) <= 0.0).all()
    assert at["rolling"].mean() < at["former"].mean()  # lower thresholds keep more


def served_under(policy: Policy, rows: CascadeRows, rng: np.random.Generator, rate: float) -> CascadeRows:
    """The rows as they are logged where the policy serves them: what it retains the last tier
    answers by coin alone.
    """
    small, last = rows.tiers
    kept, coin = retain_mask(policy, {"p_t": small.p_t}), rng.random(rows.n) < rate
    ran = ~kept | coin
    chance = np.where(kept, np.where(coin, rate, np.nan), 1.0)
    logged = replace(last, ran=ran, correct=np.where(ran, last.correct, np.nan), run_propensity=chance)
    return replace(rows, tiers=(small, logged), exploration_rate=np.full(rows.n, rate))


def joined(blocks: list[CascadeRows]) -> CascadeRows:
    """The rows of several weeks as one window's."""
    small, last = (
        tier_of(
            sum(block.n for block in blocks),
            **{
                name: np.concatenate([getattr(block.tiers[tier], name) for block in blocks])
                for name in ("ran", "correct", "p_t", "run_propensity")
            },
        )
        for tier in (0, 1)
    )
    together = {
        name: np.concatenate([getattr(block, name) for block in blocks]) for name in ("seconds", "exploration_rate")
    }
    return rows_of(small, last, **together)


@pytest.mark.slow
def test_weeks_are_broken_no_oftener_where_what_is_in_force_decides_what_is_seen() -> None:
    """Windows overlap, and of what is retained an exploration coin shows one row in seven."""
    years, weeks, weekly, rate = 25, 6, 600, 0.15
    rng, broken = np.random.default_rng(20260630), np.zeros((years, weeks))
    for year in range(years):
        everything, blocks, policy = a_year(rng, weekly, weeks), [], escalate_all(2)
        for week in range(weeks):
            here, end = np.arange(everything.n) // weekly == week, START + (week + 1) * WEEK
            blocks.append(served_under(policy, everything.take(here), rng, rate))
            known = joined(blocks)
            periods = Periods(read=Window(start=START, end=end), every=WEEK)
            since = periods.certifying(known, np.ones(known.n, dtype=np.bool_))
            split = Split(parts=np.full(known.n, str(Part.CERTIFICATION)), prompts={}, since=since)
            signals = ({"p_t": known.tiers[0].p_t},)
            made = certify_kind(known, split, signals, TARGETS, kind=PolicyKind.P_T, delta=DELTA)
            assert made is not None
            policy = made.policy
            broken[year, week] = true_drop(threshold_of(policy)) > EPSILON
    of_year = broken.mean(axis=1)
    assert 0.0 < of_year.mean() <= DELTA + 2.0 * of_year.std() / np.sqrt(years)
