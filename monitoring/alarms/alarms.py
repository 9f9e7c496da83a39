"""The savings alarm and the risk alarm: which rows they consume, and what each row counts.

Savings needs no label: a window is consumed as soon as it has ended. The alarm is read at the ends
of whole days, counted from where a family opens: a loss is heard a day or so after it began. A
retained row's C_last enters as its forecast: the last tier's price of the row's own tokens, times
ΣC_last / Σ of that price over earlier rows of its slice. The inverse-weighted correction of
`savings` figures would be unbiased, but widens the alarm's range 1/π-fold and turns hours into
weeks; what the forecast may err by is what the declared margin is for.

Risk needs labels: a window is consumed once it is older than the label horizon. What counts is E[X]
against the target, whatever champion decided. A label that is missing for unknown reasons counts as
X = −1: it may cost an alarm its power, never raise one. Where labels are drawn by a coin, those not
drawn are left out; that there is a coin is remembered from label to label, or an hour in which none
fell would count as one of harmless answers. A later revision of a label changes
figures, never an alarm that has consumed the row. What a source that is not trusted says (a grader)
enters as a forecast g of the row's own X, three quarters of it: it was made whether or not the coin
for trusted labels fell, so the increment's mean is that of X, however bad the grader.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from evidence.alarms.increments import risk_increments, risk_range, savings_increments, savings_range
from knowgate._records.arrays import BoolArray, FloatArray
from knowgate.spec import CascadeSpec, TargetKind
from monitoring.alarms.alarm_memory import (
    DAY,
    EPOCH,
    AlarmMemory,
    TimeArray,
    consume,
    fitting_families,
    needs_family,
    open_family,
    with_last_costs,
)
from monitoring.alarms.risk_rows import labelled_rows, read_risk
from monitoring.figures.cost_figures import forecast_last_cost
from monitoring.names import Rule
from monitoring.rows.cohorts import Cohort


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the champion's certificate says of savings."""

    champion: str  # bundle id
    others: frozenset[str]  # in a rollout they decide, or decided, a share beside it: their rows are not its own
    savings_low: float  # s0, the lower bound at promotion


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A bundle that a risk alarm stopped."""

    bundle: str
    read_until: datetime  # decision time up to which the alarm had read when it rang
    at: datetime  # when it was stopped


def watch_savings(memory: AlarmMemory | None, cohort: Cohort, promise: Promise | None) -> AlarmMemory:
    """The memory after the cohort's rows from `consumed_until` on.

    A new champion opens a new family; its decisions count from `_counts_from` on.
    """
    until = cohort.window.end
    memory = memory or AlarmMemory(rule=Rule.SAVINGS, consumed_until=cohort.window.start)
    if promise is None:
        memory = replace(memory, families=(), counts_from=None)  # the day that it breaks off in is not whole
        return _idle(memory, until, "no champion with a certified lower bound of savings")
    memory = _of_champion(memory, promise.champion, cohort)
    start = max(cohort.window.start, memory.consumed_until)
    rows = _unconsumed(cohort, memory)
    if promise.others:
        rows = _where(rows, ~rows["bundle"].isin(promise.others).to_numpy())
    if memory.counts_from is None:
        memory = replace(memory, counts_from=_counts_from(rows, promise.champion, start, until))
    if memory.counts_from is None:
        return replace(memory, consumed_until=until)
    rows = _where(rows, (rows["occurred_at"] >= memory.counts_from).to_numpy())
    if rows.empty:  # the day may have ended all the same
        return consume(memory, np.empty(0), _times(rows), until=until)
    memory = replace(memory, unit=memory.unit or _unit_of(rows))
    priced = _where(rows, _is_priced(rows, str(memory.unit)))
    if priced.empty:
        memory = consume(memory, np.empty(0), _times(priced), until=until)
        return replace(memory, idle=f"no decision has a known cost in {memory.unit}")
    return _consume_savings(memory, priced, cohort.spec, promise, start, until)


def watch_risk(memory: AlarmMemory | None, cohort: Cohort, stops: Sequence[Stop] = ()) -> AlarmMemory:
    """The memory after the rows of a mature cohort from `consumed_until` on. Its first family
    starts after the first label, which shows how labels are drawn, and any with a retained row.

    What a bundle decided between the ring that stopped it and the stop is passed over: it was acted
    on before it was old enough to be read, and would only accuse what decides now.
    """
    spec, until = cohort.spec, cohort.window.end
    basis = f"{spec.targets.kind.value} {spec.targets.value}"
    memory = memory or AlarmMemory(rule=Rule.RISK, consumed_until=cohort.window.start)
    if memory.basis != basis:
        memory = replace(memory, basis=basis, families=(), raised_at=None, least_propensity=None, forecast_share=0.0)
    rows = _without_stopped(_unconsumed(cohort, memory), stops)
    if not memory.families and memory.raised_at is None:
        rows = _from_first(rows, rows["retained"].to_numpy(dtype=bool))
    if spec.targets.kind is TargetKind.RETAINED_ACCURACY:
        rows = rows[rows["retained"]]
    if rows.empty:
        return replace(memory, consumed_until=until)
    if (rows["explored"] & rows["run_propensity"].isna()).any():
        return _idle(memory, until, "an exploration has an unknown run propensity")
    if memory.least_propensity is None:
        shown = np.flatnonzero(labelled_rows(rows, spec))
        if not len(shown):
            return _idle(memory, until, "no label has come that shows how labels are drawn")
        memory, rows = read_risk(memory, rows.iloc[shown[:1]], spec)[0], rows.iloc[shown[0] + 1 :]
        if rows.empty:
            return replace(memory, consumed_until=until)
    memory, seen = read_risk(memory, rows, spec)
    least, harm = float(memory.least_propensity or 1.0), spec.targets.allowed
    chance = np.where(seen.observed, seen.propensity, 1.0)
    increments = risk_increments(seen.x, seen.observed, chance, harm, least, seen.forecast, seen.weight)
    begins = rows["occurred_at"].iloc[0].to_pydatetime()
    return _consume(memory, increments, rows, spec, risk_range(harm, least, memory.forecast_share), begins, until)


def _of_champion(memory: AlarmMemory, champion: str, cohort: Cohort) -> AlarmMemory:
    """Without what was watched of another champion; without families before a hole, where the day
    that it breaks off in is not whole.
    """
    if memory.basis != champion:
        memory = replace(memory, basis=champion, families=(), raised_at=None, last_costs=(), unit=None)
        return replace(memory, counts_from=None)
    return memory if memory.consumed_until >= cohort.window.start else replace(memory, families=())


def _consume_savings(
    memory: AlarmMemory, rows: pd.DataFrame, spec: CascadeSpec, promise: Promise, start: datetime, until: datetime
) -> AlarmMemory:
    unit = str(memory.unit)
    most, most_last = _largest_costs(spec, unit, until)
    forecast, seen = forecast_last_cost(rows, unit, memory.last_costs)
    last = rows[f"last_{unit}"].to_numpy(dtype=np.float64)
    escalated = ~rows["retained"].to_numpy(dtype=bool) & ~np.isnan(last)
    expected = np.where(escalated, np.nan_to_num(last), forecast)
    cost = rows[unit].to_numpy(dtype=np.float64)
    margin = spec.alarms.savings_margin
    low, high = savings_range(most, most_last, promise.savings_low, margin)
    # Relative to the largest cost of the last tier, so that neither USD nor GFLOPs are tiny or
    # huge.
    increments = np.clip(
        savings_increments(cost, np.minimum(expected, most_last), promise.savings_low, margin), low, high
    )
    cut = int(((expected > most_last) | (cost > most)).sum())
    memory = with_last_costs(replace(memory, cut_rows=memory.cut_rows + cut), seen)
    span = most_last if most_last > 0.0 else 1.0
    begins = max(start, memory.counts_from or start)
    return _consume(memory, increments / span, rows, spec, (low / span, high / span), begins, until)


def _consume(
    memory: AlarmMemory,
    increments: FloatArray,
    rows: pd.DataFrame,
    spec: CascadeSpec,
    reach: tuple[float, float],
    begins: datetime,
    until: datetime,
) -> AlarmMemory:
    """`begins`: where a family opens that does not follow upon another's last day."""
    memory = fitting_families(memory, *reach)
    if needs_family(memory, rows["occurred_at"].iloc[-1].to_pydatetime()):
        ends_at = memory.families[-1].ends_at if memory.families else None
        at = max(begins, ends_at or begins)
        memory = open_family(memory, low=reach[0], high=reach[1], alpha=spec.alarms.alpha, at=at)
    return consume(memory, increments, _times(rows), until=until)


def _counts_from(rows: pd.DataFrame, champion: str, start: datetime, until: datetime) -> datetime | None:
    """The time from which on decisions count for a new champion; None before it has made any.

    From the start of the block where it made the block's first decision, else from the block's end
    or that of the UTC day, whichever comes first: then its days end where blocks do.
    """
    made = (rows["bundle"] == champion).to_numpy()
    if not made.any():
        return None
    first = int(np.argmax(made))
    at: datetime = rows["occurred_at"].iloc[first].to_pydatetime()
    return min(until, EPOCH + ((at - EPOCH) // DAY + 1) * DAY) if first else start


def _times(rows: pd.DataFrame) -> TimeArray:
    return np.asarray(rows["occurred_at"].to_numpy(dtype="datetime64[us]"))


def _unconsumed(cohort: Cohort, memory: AlarmMemory) -> pd.DataFrame:
    if memory.consumed_until <= cohort.window.start:
        return cohort.decisions
    return cohort.decisions[cohort.decisions["occurred_at"] >= memory.consumed_until]


def _where(rows: pd.DataFrame, wanted: BoolArray) -> pd.DataFrame:
    """Those rows; not copied where they are all of them, as in most hours."""
    return rows if wanted.all() else rows[wanted]


def _without_stopped(rows: pd.DataFrame, stops: Sequence[Stop]) -> pd.DataFrame:
    for stop in stops:
        left_over = (rows["occurred_at"] >= stop.read_until) & (rows["occurred_at"] < stop.at)
        rows = rows[~((rows["bundle"] == stop.bundle) & left_over)]
    return rows


def _from_first(rows: pd.DataFrame, wanted: BoolArray) -> pd.DataFrame:
    return rows.iloc[int(np.argmax(wanted)) :] if wanted.any() else rows.iloc[:0]


def _idle(memory: AlarmMemory, until: datetime, why: str) -> AlarmMemory:
    return replace(memory, consumed_until=until, idle=why)


def _unit_of(rows: pd.DataFrame) -> str:
    """USD where everything has a price, else GFLOPs."""
    return "usd" if _is_priced(rows, "usd").all() and (rows["expected_last_usd"] > 0.0).any() else "gflops"


def _is_priced(rows: pd.DataFrame, unit: str) -> BoolArray:
    cost, expected, last = (rows[f"{of}{unit}"].to_numpy(dtype=np.float64) for of in ("", "expected_last_", "last_"))
    return np.asarray(~np.isnan(cost) & ~(np.isnan(expected) & np.isnan(last)), dtype=np.bool_)


def _largest_costs(spec: CascadeSpec, unit: str, at: datetime) -> tuple[float, float]:
    """The most that a whole decision and that its last tier can cost, at the declared bound of
    tokens.
    """
    tokens = spec.alarms.max_tokens
    if unit == "gflops":
        costs = [tier.gflops(tokens) for tier in spec.tiers]
    else:
        prices = [tier.price_at(at) for tier in spec.tiers]
        costs = [0.0 if p is None else max(p.cost_usd(tokens, 0), p.cost_usd(0, tokens)) for p in prices]
    return sum(costs), costs[-1]
