"""Judges in monitoring: forecasts in figures and in the risk alarm, their measured errors, and the
alert about them.
"""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from knowgate.spec import TargetKind, Targets
from monitoring.alarms.alarms import watch_risk
from monitoring.alarms.risk_rows import FORECAST_SHARE, risk_forecasts, risk_rows
from monitoring.figures.figures import figures_of
from monitoring.rules.grader_drift import assess_grader_drift
from monitoring.rules.rules import Standing
from store.traffic.verdicts import Compared


def traffic(cast, n, *, gold=0.2, up=0.2, seed=3):
    """Retained queries, all explored and judged; gold labels are drawn by coin. The drop is about
    .1.
    """
    rng, asked = np.random.default_rng(seed), []
    for row in range(n):
        small, large = float(rng.random() < 0.8), float(rng.random() < 0.9)
        drawn = rng.random() < gold
        verdicts = tuple(truth if truth or rng.random() >= up else 1.0 for truth in (small, large))
        asked.append(
            cast.Asked(
                at=cast.DAY + timedelta(seconds=60 * row),
                explored=True,
                run_propensity=1.0,
                small=small if drawn else None,
                large=large if drawn else None,
                label_propensity=gold,
                verdicts=verdicts,
            )
        )
    return asked


def named(cohort):
    rows = figures_of(cohort, computed_at=cohort.as_of)
    return {row.name: row for row in rows if row.tier is None and row.slice is None}


@pytest.mark.slow
def test_figures_correct_the_grader_by_the_sample_and_rates_tell_its_errors(cast, cohort):
    asked = traffic(cast, 800)
    judged = named(cohort(asked, judged=True))
    alone = named(cohort([replace(one, verdicts=(None, None)) for one in asked], judged=True))
    for name in ("accuracy_cascade", "accuracy_last", "drop"):
        assert judged[name].value is not None and alone[name].value is not None
        assert judged[name].high - judged[name].low < alone[name].high - alone[name].low
    width = judged["accuracy_cascade"].high - judged["accuracy_cascade"].low
    assert abs(judged["accuracy_cascade"].value - 0.8) < width  # twice the half width
    lenient = np.mean([one.verdicts[0] for one in asked])
    assert lenient > judged["accuracy_cascade"].high  # the grader's own mean is off by its errors
    assert judged["judge_wrong_called_right"].low <= 0.2 <= judged["judge_wrong_called_right"].high
    assert judged["judge_right_called_wrong"].value == 0.0
    assert alone["judge_wrong_called_right"].value is None


def test_a_grader_alone_makes_no_figure(cast, cohort):
    asked = [replace(one, small=None, large=None) for one in traffic(cast, 30)]
    figures = named(cohort(asked, judged=True))
    assert figures["accuracy_cascade"].value is None
    assert "forecasts" in figures["accuracy_cascade"].not_identified


def test_the_risk_alarm_takes_verdicts_for_forecasts_and_stays_in_its_range(cast, cohort):
    watched = cohort(traffic(cast, 150), judged=True)
    x, observed, propensity = risk_rows(watched.decisions, watched.spec)
    guess, weight = risk_forecasts(watched.decisions, watched.spec, observed)
    assert set(np.round(np.unique(guess), 2)) == {-FORECAST_SHARE, 0.0, FORECAST_SHARE}
    assert (weight == 1.0).all() and (propensity[observed] == 0.2).all() and observed.sum() < 50
    assert np.isnan(x[~observed]).all()
    memory = watch_risk(None, watched)
    assert memory.forecast_share == FORECAST_SHARE
    assert (memory.families[0].watch.rule.low, memory.families[0].watch.rule.high) == pytest.approx(
        (-(1 + 0.8 * FORECAST_SHARE) - 0.2 * 0.02, 1 + 0.8 * FORECAST_SHARE - 0.2 * 0.02)
    )
    assert memory.families[0].watch.mean_increment == pytest.approx(0.2 * (0.1 - 0.02), abs=0.02)


def test_where_every_label_is_owed_a_verdict_stands_for_none(cast, cohort):
    watched = cohort([replace(one, label_propensity=None) for one in traffic(cast, 100)], judged=True)
    _, observed, _ = risk_rows(watched.decisions, watched.spec)
    assert observed.all()
    assert not risk_forecasts(watched.decisions, watched.spec, observed)[0].any()


def test_a_retained_accuracy_is_watched_with_verdicts_too(cast, cohort):
    watched = cohort(traffic(cast, 200), judged=True, targets=Targets(kind=TargetKind.RETAINED_ACCURACY, value=0.9))
    _, observed, _ = risk_rows(watched.decisions, watched.spec)
    guess, _ = risk_forecasts(watched.decisions, watched.spec, observed)
    assert set(np.unique(guess)) == {0.0, FORECAST_SHARE}  # called wrong


def test_a_grader_that_gets_worse_is_told_and_one_that_does_not_is_not():
    before = Compared(wrong=30, answers=600)
    worse = assess_grader_drift(Compared(wrong=45, answers=200), before)
    assert worse.standing is Standing.RAISED
    assert "on 22 % of 200 answers, before on 5.0 % of 600" in worse.cause
    assert {name: round(float(value), 3) for name, value in worse.details.items()} == {
        "error": 0.225,
        "low": 0.154,
        "before": 0.05,
    }
    assert assess_grader_drift(Compared(wrong=11, answers=200), before).standing is Standing.CLEAR
    assert assess_grader_drift(Compared(wrong=20, answers=200), before).standing is Standing.UNKNOWN
    assert assess_grader_drift(Compared(wrong=20, answers=29), before).standing is Standing.UNKNOWN
