"""The alarms' committed figures: the page shows them, the false-alarm rate is kept, and what
`knowgate advise` foresees is what was measured.
"""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.alarms.months import FAULTS
from benchmarks.alarms.tables import BEGIN, END, PAGE, RESULTS, render
from benchmarks.alarms.traffic import EPSILON, LAST, PROMISED, SMALL, Setting, month
from evidence.certification.certificate import Target
from knowgate.spec import TargetKind
from services.advice.hearing import Heard, heard_losses, heard_risks
from services.advice.label_plan import LabelPlan, LabelYield
from services.advice.price_lists import TierRates
from services.advice.query_costs import CostTable

FIGURES = json.loads(RESULTS.read_text(encoding="utf-8"))["figures"]
DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=EPSILON)


def test_the_page_shows_the_committed_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.split(BEGIN)[1].split(END)[0].strip() == render(FIGURES).strip()


def test_in_healthy_months_the_alarms_ring_no_oftener_than_they_may_and_all_faults_were_measured() -> None:
    assert max(FIGURES["false_alarms_savings"], FIGURES["false_alarms_risk"]) <= FIGURES["false_alarms_limit"]
    assert {f"delay_{fault.name}" for fault in FAULTS} <= set(FIGURES)


def test_labels_by_a_coin_are_heard_no_later_hourly_than_daily() -> None:
    daily = {name: hours for name, hours in FIGURES.items() if name.endswith("_daily") and hours is not None}
    assert daily and all(FIGURES[name.removesuffix("_daily")] <= hours for name, hours in daily.items())


def foreseen() -> Iterator[tuple[str, float | None]]:
    """The figure's name and the median hours that advice makes of three healthy days of the same
    traffic, all explored and labelled.
    """
    frame = month(Setting(per_day=20_000, exploration=1.0, drop=EPSILON / 2), 3, np.random.default_rng(9))
    kept, last = np.where(frame["retained"], 0, 1), frame["true_last_usd"].to_numpy()
    costs = CostTable(unit="usd", per_tier=np.column_stack([frame["usd"] - np.where(kept == 0, 0.0, last), last]))
    correct = np.column_stack([frame["x"] <= 0.0, frame["x"] >= 0.0]).astype(np.float64)
    rates = [TierRates(usd_per_million_in=of_in, usd_per_million_out=of_out) for of_in, of_out in (SMALL, LAST)]
    for fault in FAULTS:
        rate = fault.exploration * fault.label_rate
        plan = LabelPlan(decisions_per_day=fault.per_day, exploration_rate=fault.exploration, label_rate=rate)
        week = LabelYield(plan=plan, label_rate=rate, labelled=0.0, counting=0.0, weeks=None)
        heard: tuple[Heard, ...] = (
            heard_losses([costs], rates, kept, PROMISED, fault.per_day)
            if fault.alarm == "savings"
            else heard_risks(DROP, correct, kept, week)
        )
        (hours,) = (one.hours.median for one in heard if one.points == fault.points)
        yield f"delay_{fault.name}", hours


@pytest.mark.slow
def test_what_advice_foresees_is_what_was_measured() -> None:
    """Within three fifths and two hours: advice knows no daily cycle, and 40 runs have an error."""
    for name, hours in foreseen():
        measured = FIGURES[name]
        if hours is None or measured is None:
            assert min(hours or np.inf, measured or np.inf) > 300, f"{name}: {hours} foreseen, {measured} measured"
        else:
            assert measured / 1.6 - 2 <= hours <= 1.6 * measured + 2, f"{name}: {hours} foreseen, {measured} measured"
