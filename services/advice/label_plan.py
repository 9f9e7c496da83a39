"""How many rows a week a plan of exploring and labelling yields, before anything is declared.

A certificate counts rows that were seen at one rate, so what counts is the smaller of the rate at
which retained queries are explored and the one at which decisions become known
(`evidence.estimation.label_allocation`). What is labelled for that follows from the table: how much
is retained at the advised thresholds, and how often the tiers answer the same.
"""

from dataclasses import dataclass

import numpy as np

from evidence.estimation.label_allocation import LEVEL, label_rate
from knowgate._records.arrays import BoolArray
from knowgate.spec import TargetKind
from services.errors import InputInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """What is to be explored and labelled. Raises InputInvalid."""

    decisions_per_day: float
    exploration_rate: float = 0.05
    label_rate: float | None = None  # as of `knowgate labels queue`; None with no budget: the exploration rate
    label_budget: float | None = None  # in its place: decisions labelled a week

    def __post_init__(self) -> None:
        if self.label_rate is not None and self.label_budget is not None:
            raise InputInvalid("--label-rate and --label-budget: give one of the two")
        for name, value in (
            ("--decisions-per-day", self.decisions_per_day),
            ("--label-budget", self.label_budget),
        ):
            if value is not None and not 0 < value < float("inf"):
                raise InputInvalid(f"{name} is {value}: give a number above 0")
        for name, rate in (("--exploration-rate", self.exploration_rate), ("--label-rate", self.label_rate)):
            if rate is not None and not 0 < rate <= 1:
                raise InputInvalid(f"{name} is {rate}: it lies in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelYield:
    """What comes of a plan in a week."""

    plan: LabelPlan
    label_rate: float  # the plan's, or what its budget pays for
    labelled: float  # decisions
    counting: float  # rows that a certificate can count
    weeks: float | None  # until as many count as are still needed; None where enough are there, or none would do


def yield_of(
    plan: LabelPlan, retained: BoolArray, same: BoolArray, kind: TargetKind, labels_needed: int | None
) -> LabelYield:
    """A week of the plan, on queries of which [n] `retained` says what is kept before the last
    tier, and `same` where all tiers answer alike.
    """
    week, explored = 7.0 * plan.decisions_per_day, plan.exploration_rate
    if kind is TargetKind.MAX_ACCURACY_DROP:
        by_coin = explored * float((retained & ~same).mean())
        certain = float((~retained & ~same).mean())
        kinds, worth = np.array([by_coin, certain, 1.0 - by_coin - certain]), np.array([1.0 / explored, 1.0, LEVEL])
    else:
        kinds, worth = np.ones(1), np.ones(1)
    rate = plan.label_rate if plan.label_rate is not None else explored
    if plan.label_budget is not None:
        rate = min(1.0, label_rate(worth, plan.label_budget, rows=week * kinds))
    counting = week * (min(rate, explored) if kind is TargetKind.MAX_ACCURACY_DROP else rate * float(retained.mean()))
    return LabelYield(
        plan=plan,
        label_rate=rate,
        labelled=week * float((kinds * np.minimum(1.0, rate * worth)).sum()),
        counting=counting,
        weeks=labels_needed / counting if labels_needed and counting > 0 else None,
    )
