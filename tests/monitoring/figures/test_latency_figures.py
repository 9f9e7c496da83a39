"""Times that are counted by hand: what a query waits for, and what it does not."""

import pytest

from knowgate._records.records import Reason
from monitoring.figures.figures import figures_of
from monitoring.figures.latency_figures import UNLOGGED

KEPT, SENT = (100.0, 900.0), (300.0, 2000.0)


def named(cohort, *, tier=None, slice=None):
    rows = figures_of(cohort, computed_at=cohort.as_of)
    return {row.name: row for row in rows if row.tier == tier and row.slice == slice and row.name.endswith("_ms")}


def values(figures):
    return {name: (figure.value, figure.n) for name, figure in figures.items()}


def test_tiers_are_waited_for_in_turn_and_explorations_are_not(cast, cohort):
    asked = [cast.Asked(explored=True, took_ms=KEPT), cast.Asked(took_ms=(120.0, None))]
    asked += [cast.Asked(reason=Reason.P_T, took_ms=SENT, slice="a") for _ in range(2)]
    found = cohort(asked)
    assert values(named(found)) == {
        "latency_p50_ms": (120.0, 4),
        "latency_p95_ms": (2300.0, 4),
        "escalation_added_p50_ms": (300.0, 2),
        "escalation_added_p95_ms": (300.0, 2),
    }
    assert values(named(found, tier=0)) == {"latency_p50_ms": (120.0, 4), "latency_p95_ms": (300.0, 4)}
    assert values(named(found, tier=1)) == {"latency_p50_ms": (2000.0, 3), "latency_p95_ms": (2000.0, 3)}
    assert named(found, slice="a")["latency_p95_ms"].value == 2300.0
    assert named(found)["latency_p50_ms"].not_identified == "no interval: 4 times are too few"


def test_a_hundred_runs_have_an_interval_of_two_of_their_values(cast, cohort):
    figures = named(cohort([cast.Asked(took_ms=(float(ms), None)) for ms in range(1, 101)]), tier=0)
    half, most = figures["latency_p50_ms"], figures["latency_p95_ms"]
    assert (half.value, half.low, half.high) == (50.0, 40.0, 61.0)
    assert (most.value, most.low, most.high) == (95.0, 90.0, 100.0)


@pytest.mark.parametrize("mode", [Reason.OBSERVE, Reason.ESCALATE_ALL])
def test_nobody_waits_for_what_ran_beside_the_last_tier(cast, cohort, mode):
    beside = cast.Asked(reason=mode, early=True, explored=True, took_ms=SENT)
    figures = values(named(cohort([beside, cast.Asked(reason=mode, early=True, took_ms=(None, 1000.0))])))
    assert figures["latency_p95_ms"] == (2000.0, 2) and figures["escalation_added_p95_ms"] == (0.0, 2)


def test_a_decision_with_a_time_that_nobody_knows_is_left_out(cast, cohort):
    known = cast.Asked(reason=Reason.P_T, took_ms=SENT)
    unlogged = cast.Asked(reason=Reason.P_T, took_ms=(None, 50.0))
    read_and_answered = cast.Asked(reason=Reason.P_IK, early=True, explored=True, took_ms=(50.0, 60.0))
    read = cast.Asked(reason=Reason.P_IK, early=True, took_ms=(20.0, 2000.0))
    figures = values(named(cohort([known, unlogged, read_and_answered, read])))
    assert figures["latency_p50_ms"] == (2020.0, 2) and figures["escalation_added_p50_ms"] == (20.0, 2)


def test_why_there_is_no_time_is_told_and_slices_keep_silent(cast, cohort):
    found = cohort([cast.Asked(slice="a"), cast.Asked(slice="a")])
    figures = named(found)
    assert figures["latency_p50_ms"].not_identified == UNLOGGED
    assert figures["escalation_added_p95_ms"].not_identified == "no decision was answered by the last tier"
    assert named(found, tier=1)["latency_p95_ms"].not_identified == "the tier did not run"
    assert named(found, slice="a") == {}
