"""The four ways in which a step of a rollout can stand, and what it says that it waits for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.certification.step import StepDemand, StepEvidence, StepOutcome, StepVerdict, step_verdict

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DEMAND = StepDemand(least=200, lasts_until=NOON, deadline=NOON + timedelta(days=7))
ENOUGH = StepEvidence(n=200, keeps=True, broken=False)
HOUR = timedelta(hours=1)


def verdict(evidence: StepEvidence | None, at: datetime = NOON) -> StepVerdict:
    return step_verdict(DEMAND, evidence, now=at)


def test_a_step_passes_once_it_has_lasted_and_enough_rows_speak_for_it() -> None:
    assert verdict(ENOUGH).outcome is StepOutcome.PASSED
    early = verdict(ENOUGH, NOON - HOUR)
    assert (early.outcome, early.missing) == (StepOutcome.INCONCLUSIVE, "the time until 2026-03-02 12:00 UTC")
    assert not early.ends


def test_harm_ends_it_at_once_however_few_the_rows_and_early_the_hour() -> None:
    harmful = verdict(StepEvidence(n=31, keeps=False, broken=True), NOON - HOUR)
    assert (harmful.outcome, harmful.ends) == (StepOutcome.HARMFUL, True)


@pytest.mark.parametrize(
    ("evidence", "missing"),
    [
        (None, "200 of 200 rows that count"),
        (StepEvidence(n=150, keeps=True, broken=False), "50 of 200 rows that count"),
        (
            StepEvidence(n=500, keeps=False, broken=False),
            "rows that speak for it: their estimate is on the wrong side of the promise",
        ),
    ],
)
def test_what_is_not_known_is_inconclusive_until_the_deadline_and_declined_there(
    evidence: StepEvidence | None, missing: str
) -> None:
    waiting = verdict(evidence)
    assert (waiting.outcome, waiting.missing, waiting.ends) == (StepOutcome.INCONCLUSIVE, missing, False)
    over = verdict(evidence, DEMAND.deadline)
    assert (over.outcome, over.missing, over.ends) == (StepOutcome.INCONCLUSIVE, missing, True)


def test_what_cannot_be_judged_goes_no_further() -> None:
    failed = step_verdict(DEMAND, ENOUGH, now=NOON, error="it cannot be read")
    assert (failed.outcome, failed.ends) == (StepOutcome.ERROR, True)


@given(
    n=st.integers(0, 500),
    keeps=st.booleans(),
    broken=st.booleans(),
    hours=st.integers(-48, 400),
)
def test_exactly_one_thing_happens_and_what_harms_never_passes(n: int, keeps: bool, broken: bool, hours: int) -> None:
    found = verdict(StepEvidence(n=n, keeps=keeps, broken=broken), NOON + hours * HOUR)
    passed = found.outcome is StepOutcome.PASSED
    assert passed is (n >= 200 and keeps and not broken and hours >= 0)
    assert not (passed and found.ends)
    assert (found.missing is None) is (found.outcome is not StepOutcome.INCONCLUSIVE)
