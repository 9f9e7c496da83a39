"""What a policy saves on the rows of a window, and what share it retains, where a gate may have
ended tiers before they answered.

Costs are in USD where every run is priced, else in GFLOPs. Costs of the last tier where it did not
run are imputed through the exploration coin (`evidence.costs.savings`). What a gate ended, and
other thresholds would let answer, is spoken for by those that answered all the same: nobody knows
whether P(T) would have kept the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evidence.certification.known_outcomes import ended_early
from evidence.certification.nested_path import Signals
from evidence.certification.worth import Saves
from evidence.costs.savings import Savings, impute_last_cost, predictable_forecast, savings_of
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate._records.records import Role
from knowgate.policy import Policy, ended_mask
from training.rows.dataset import CascadeRows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Speaking:
    """Which of n decisions speak for those whose tiers a gate ended before they answered."""

    ran: BoolArray  # [n, tiers − 1]
    early: BoolArray  # [n, tiers − 1] a gate ended the tier, whether or not it answered all the same
    chance: FloatArray  # [n, tiers − 1] that it answered all the same; NaN = not logged

    def weights(self, ended: BoolArray | None) -> FloatArray:
        """[n] how many decisions each stands for under a policy that ends tiers where `ended` [n,
        tiers − 1] says so, nowhere where it is None. Without a logged chance a row stands for
        itself.
        """
        lets = self.early & np.isfinite(self.chance)
        if ended is not None:
            lets &= ~ended
        weight = np.ones(len(lets))
        for at in np.flatnonzero(lets.any(axis=0)):
            answered = np.maximum(weight, 1.0 / np.where(lets[:, at], self.chance[:, at], 1.0))
            weight = np.where(lets[:, at], np.where(self.ran[:, at], answered, 0.0), weight)
        return weight


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CohortCosts:
    """What the runs of n decisions cost, whichever policy is asked about."""

    slices: IntArray  # [n] by number
    of_last: FloatArray  # [n] of asking the last tier
    of_escalation: FloatArray  # [n] what an escalated decision paid for its last tier
    prompt: FloatArray  # [n, tiers − 1] of what a tier reads
    whole: FloatArray  # [n, tiers − 1] of what it reads and writes
    speaking: Speaking

    def savings(self, kept: IntArray, ended: BoolArray | None = None) -> Savings | None:
        """What the policy saves that keeps decision i at tier kept[i] and ends a tier before it
        answers where `ended` [n, tiers − 1] says so; None where asking the last tier costs nothing.
        """
        tiers = self.prompt.shape[1]
        asked = kept[:, None] >= np.arange(tiers)
        paid = self.whole if ended is None else np.where(ended, self.prompt, self.whole)
        spent = np.where(kept == tiers, self.of_escalation, 0.0) + np.where(asked, paid, 0.0).sum(axis=1)
        weight = self.speaking.weights(ended)
        spent, of_last = spent * weight, self.of_last * weight
        return savings_of(spent, of_last, stratum=self.slices) if float(of_last.sum()) > 0 else None


def cohort_savings(rows: CascadeRows, kept: IntArray, ended: BoolArray | None = None) -> Savings | None:
    """What is saved where decision i is kept at tier kept[i], and a tier is ended before it answers
    where `ended` [n, tiers − 1] says so; None where costs or coins are unknown.
    """
    costs = cohort_costs(rows)
    return None if costs is None else costs.savings(kept, ended)


def saves_on(rows: CascadeRows, signals: Sequence[Signals]) -> Saves:
    """What a policy saves on these rows [n]; None where costs or coins are unknown."""
    costs = cohort_costs(rows)

    def saves(kept: IntArray, policy: Policy) -> float | None:
        savings = None if costs is None else costs.savings(kept, ended_at(policy, rows, signals))
        return None if savings is None else savings.value

    return saves


def ended_at(policy: Policy, rows: CascadeRows, signals: Sequence[Signals]) -> BoolArray:
    """[n, tiers − 1] where `policy` ends a tier before it answers: those that are declared so."""
    never = np.zeros(rows.n, dtype=np.bool_)
    return np.column_stack(
        [ended_mask(policy, shown, tier=at) if at in rows.early else never for at, shown in enumerate(signals)]
    )


def retained_share(rows: CascadeRows, kept: IntArray, ended: BoolArray) -> float:
    """The share that is kept before the last tier, of all n decisions. Of those that a gate ended,
    and this policy lets answer, or that a coin left out while the cascade was observed, the ones
    that answered all the same speak for the others.
    """
    retained = kept < len(rows.tiers) - 1
    weight = speaking(rows).weights(ended)
    total = float(weight.sum())
    return float(weight[retained].sum()) / total if total > 0.0 else 0.0


def cohort_costs(rows: CascadeRows) -> CohortCosts | None:
    """What the runs of these rows cost; None where costs or coins are unknown."""
    for column in ("cost_usd", "gflops"):
        costs = [np.asarray(getattr(tier, column), dtype=np.float64) for tier in rows.tiers]
        if all(np.isfinite(cost[tier.ran]).all() for cost, tier in zip(costs, rows.tiers, strict=True)):
            return _costs(rows, costs, column)
    return None


def _costs(rows: CascadeRows, costs: list[FloatArray], column: str) -> CohortCosts | None:
    last = rows.tiers[-1]
    propensity = np.where(last.ran, np.nan_to_num(last.run_propensity, nan=1.0), rows.exploration_rate)
    if last.ran.all():
        propensity = np.ones(rows.n)
    if not last.ran.any() or (propensity <= 0).any():
        return None
    if float(np.nansum(costs[-1])) <= 0:
        return None
    slices = np.unique(np.array([name or "" for name in rows.slices]), return_inverse=True)[1]
    forecast = predictable_forecast(slices, costs[-1], prior=float(np.nanmean(costs[-1])))
    runs = [_prompt_and_whole(rows, tier, cost, column) for tier, cost in enumerate(costs[:-1])]
    return CohortCosts(
        slices=slices,
        of_last=impute_last_cost(forecast, last.ran, propensity, costs[-1]),
        of_escalation=np.where(last.ran, costs[-1], forecast),
        prompt=np.column_stack([prompt for prompt, _ in runs]),
        whole=np.column_stack([whole for _, whole in runs]),
        speaking=speaking(rows),
    )


def _prompt_and_whole(rows: CascadeRows, tier: int, cost: FloatArray, column: str) -> tuple[FloatArray, FloatArray]:
    """[n] each what a run's prompt costs, and the prompt with the answer; what a tier that was
    skipped did not write is forecast by what the others wrote.
    """
    skipped = np.asarray(rows.tiers[tier].role == Role.SKIPPED, dtype=np.bool_)
    read = np.where(skipped, cost, cost * _read_share(rows, tier, column))
    prompt, answer = _filled(read), _filled(np.where(skipped, np.nan, cost - read))
    return prompt, np.where(skipped, prompt + answer, _filled(np.where(skipped, np.nan, cost)))


def _read_share(rows: CascadeRows, tier: int, column: str) -> FloatArray:
    """[n] what of a run's cost its prompt took; NaN where unknown."""
    one = rows.tiers[tier]
    tokens_in = one.tokens_in * (rows.early.get(tier, 1.0) if column == "cost_usd" else 1.0)
    total = tokens_in + one.tokens_out
    share: FloatArray = np.divide(tokens_in, total, out=np.full(rows.n, np.nan), where=total > 0.0)
    return share


def speaking(rows: CascadeRows) -> Speaking:
    """Which rows speak for those whose tiers were ended before they answered."""
    early = ended_early(np.column_stack([tier.role for tier in rows.tiers]))[:, :-1]
    first = rows.tiers[:-1]
    return Speaking(
        ran=np.column_stack([tier.ran for tier in first]),
        early=early,
        chance=np.column_stack([tier.run_propensity for tier in first]),
    )


def _filled(costs: FloatArray) -> FloatArray:
    """[n] with the mean of the known ones where one is unknown; 0 where all are."""
    known = np.isfinite(costs)
    return np.where(known, costs, costs[known].mean() if known.any() else 0.0)
