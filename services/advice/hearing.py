"""How soon an alarm would hear of harm under a plan of exploring and labelling, before anything is
declared.

The rows of the outcome table at the advised thresholds are what the alarms would count while all is
well. Savings fall as retained queries, whichever, escalate; answers get worse as the last tier is
right oftener where another answer was kept. What a row counts then, in which range, and with which
share of α, is as in `monitoring.alarms`; `evidence.alarms.hearing` plays it through.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from evidence.alarms.alarms import AlarmRule
from evidence.alarms.hearing import HearingTime, hours_to_hear, increments_of
from evidence.alarms.increments import risk_increments, risk_range, savings_increments, savings_range
from evidence.certification.certificate import Target
from evidence.costs.break_even import cascade_costs
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate.spec import Alarms, TargetKind
from monitoring.alarms.alarm_memory import AlarmMemory, open_family
from monitoring.names import Rule
from services.advice.label_plan import LabelYield
from services.advice.price_lists import TierRates
from services.advice.query_costs import CostTable

FALLS, RISES = (10, 20), (5, 10)  # points of savings, and of the drop or of wrong answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One harm, and when it would be heard; of risk, after the label horizon."""

    alarm: Rule  # savings or risk
    points: int  # by which savings fall, or by which the drop (or the share of wrong answers) rises
    hours: HearingTime


def heard_losses(
    costs: Sequence[CostTable], rates: Sequence[TierRates], kept: IntArray, savings_low: float, per_day: float
) -> tuple[Heard, ...]:
    """Falls of savings that are possible, for a promise of `savings_low`; none where nothing says
    what a query may cost at most.
    """
    alarms, bounded = Alarms(), _bounded(costs, rates)
    if bounded is None:
        return ()
    values, most = bounded
    everything, spent, last = values.sum(axis=1), cascade_costs(values, kept), values[:, -1]
    low, high = savings_range(float(most.sum()), float(most[-1]), savings_low, alarms.savings_margin)
    well, worst = (savings_increments(cost, last, savings_low, alarms.savings_margin) for cost in (spent, everything))
    retained, span = kept < values.shape[1] - 1, float(most[-1])
    rule = _first_family(Rule.SAVINGS, low / span, high / span)
    heard = []
    for points in FALLS:
        escalating = points / 100 * last.sum() / (everything - spent)[retained].sum()
        if escalating > 1.0:
            continue
        shares = np.concatenate([np.where(retained, 1.0 - escalating, 1.0), np.where(retained, escalating, 0.0)])
        healthy, both = (np.clip(d, low, high) / span for d in (well, np.concatenate([well, worst])))
        hours = hours_to_hear(rule, increments_of(healthy), increments_of(both, shares), per_day / 24)
        heard.append(Heard(alarm=Rule.SAVINGS, points=points, hours=hours))
    return tuple(heard)


def heard_risks(target: Target, correct: FloatArray, kept: IntArray, labels: LabelYield) -> tuple[Heard, ...]:
    """Rises of the drop, or of wrong answers among the retained, where the queue labels explored
    rows first.
    """
    retained: BoolArray = kept < correct.shape[1] - 1
    of_kept = correct[np.arange(len(kept)), kept]
    per_day, chance = labels.plan.decisions_per_day, labels.label_rate
    if target.kind is TargetKind.MAX_ACCURACY_DROP:
        allowed, chance = target.value, min(chance, labels.plan.exploration_rate)
        x = np.where(retained, correct[:, -1] - of_kept, 0.0)
    else:
        allowed, per_day = 1.0 - target.value, per_day * float(retained.mean())
        x = 1.0 - of_kept[retained]
    worse, better = float((x > 0).mean()), float((x < 0).mean())
    rule = _first_family(Rule.RISK, *risk_range(allowed, chance))
    d = risk_increments([1.0, -1.0, float("nan")], [1, 1, 0], [chance] * 3, allowed, chance)

    def at(rise: float) -> FloatArray:
        """The share of rows that count each of the three."""
        more = min(worse + rise, 1.0 - better)
        return np.array([chance * more, chance * better, 1.0 - chance * (more + better)])

    return tuple(
        Heard(
            alarm=Rule.RISK,
            points=points,
            hours=hours_to_hear(rule, increments_of(d, at(0.0)), increments_of(d, at(points / 100)), per_day / 24),
        )
        for points in RISES
    )


def _first_family(alarm: Rule, low: float, high: float) -> AlarmRule:
    """What an alarm's first family watches."""
    since = datetime(1970, 1, 1, tzinfo=UTC)
    memory = open_family(
        AlarmMemory(rule=alarm, consumed_until=since), low=low, high=high, alpha=Alarms().alpha, at=since
    )
    return memory.families[0].watch.rule


def _bounded(costs: Sequence[CostTable], rates: Sequence[TierRates]) -> tuple[FloatArray, FloatArray] | None:
    """Costs [rows, tiers] in the first unit in which the most that a query costs [tiers] follows
    from the most tokens it may have.
    """
    tokens = Alarms().max_tokens
    for cost in costs:
        if cost.unit == "usd" and all(rate.priced for rate in rates):
            dearest = [max(rate.usd_per_million_in or 0.0, rate.usd_per_million_out or 0.0) for rate in rates]
            return cost.per_tier, np.array(dearest) * tokens / 1e6
        if cost.unit == "gflops":
            return cost.per_tier, np.array([2.0 * (rate.parameters or 0.0) * tokens / 1e9 for rate in rates])
    return None
