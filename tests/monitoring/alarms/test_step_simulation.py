"""Rollouts played through many times: what keeps its promise goes through, what breaks it is found,
and what stands on the edge is seldom accused.

Seeds are fixed; what is asserted leaves room for the error of so many runs.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evidence.bounds.spending import delta_for_attempt
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.step import StepDemand, StepOutcome, step_verdict
from evidence.certification.tally import charitable_tally_of, tally_of
from knowgate._records.records import Window
from knowgate.spec import TargetKind
from monitoring.alarms.step_looks import StepLook, look_is_due

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
EPSILON, DELTA, LEAST, DAILY = 0.05, 0.1, 100, 400
SHARES = (0.05, 0.25)
RUNS = 200


def rollout(rng: np.random.Generator, drop: float) -> StepOutcome:
    """How one ends whose challenger loses `drop` on every query that it decides; each tier runs on
    all of them.
    """
    kept_right: list[float] = []
    last: StepLook | None = None
    for number, share in enumerate(SHARES, start=1):
        began = START if last is None else last.at
        demand = StepDemand(least=LEAST * number, lasts_until=began + DAY, deadline=began + 60 * DAY)
        now, verdict = began, None
        while verdict is None or (verdict.outcome is StepOutcome.INCONCLUSIVE and not verdict.ends):
            now += DAY
            kept_right += (rng.random(rng.binomial(DAILY, share)) >= drop).tolist()
            if look_is_due(last, len(kept_right), demand, now=now):
                last = look(np.array(kept_right, dtype=np.float64), 1 if last is None else last.look + 1, now)
            verdict = step_verdict(demand, None if last is None else last.evidence, now=now)
        if verdict.ends:
            return verdict.outcome
    return StepOutcome.PASSED


def look(right: np.ndarray, number: int, now: datetime) -> StepLook:
    rows = CertificationRows(correct=np.column_stack([right, np.ones(len(right))]))
    kept, level = np.zeros(len(right), dtype=np.int64), delta_for_attempt(DELTA, number)
    for_it = tally_of(rows, kept, level).on(TargetKind.MAX_ACCURACY_DROP)
    against = charitable_tally_of(rows, kept, level).on(TargetKind.MAX_ACCURACY_DROP)
    return StepLook(
        at=now,
        window=Window(start=START, end=now),
        decisions=len(right),
        look=number,
        level=level,
        n=len(right),
        estimate=for_it.estimate,
        keeps=for_it.estimate is not None and for_it.estimate <= EPSILON,
        broken=against.missed(EPSILON, level),
    )


def outcomes(drop: float) -> dict[StepOutcome, float]:
    rng = np.random.default_rng(20260302)
    ended = [rollout(rng, drop) for _ in range(RUNS)]
    return {outcome: ended.count(outcome) / RUNS for outcome in StepOutcome}


@pytest.mark.slow
@pytest.mark.parametrize("drop", [0.0, EPSILON / 4, EPSILON / 2])
def test_a_challenger_that_keeps_its_promise_goes_through(drop: float) -> None:
    assert outcomes(drop)[StepOutcome.PASSED] >= 0.95


@pytest.mark.slow
def test_one_that_loses_three_times_what_is_allowed_is_found(drop: float = 3 * EPSILON) -> None:
    ended = outcomes(drop)
    assert ended[StepOutcome.PASSED] <= 0.01
    assert ended[StepOutcome.HARMFUL] >= 0.99


@pytest.mark.slow
def test_one_on_the_very_edge_is_accused_no_more_often_than_promised() -> None:
    error = 2.0 * np.sqrt(DELTA * (1.0 - DELTA) / RUNS)
    assert outcomes(EPSILON)[StepOutcome.HARMFUL] <= DELTA + error
