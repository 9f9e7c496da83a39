"""Why savings changed between two cohorts: an exact, additive account over causes and slices.

Causes: the traffic mix, escalation within a slice (by the gate that caused it), prices,
token counts and exploration. Each cause's part is its Shapley value, the mean over all orders in
which the causes could have moved, so that no order is favoured and the parts add up exactly.
Savings here are net of exploration:

    1 − Σ_k w_k·(Σ_t r_kt·τ_kt·p_t + x_k·ξ_k·p_last) / Σ_k w_k·τ_k·p_last

with w the slice's share of traffic, r runs per decision, τ tokens (in, out) per run, p prices, x
exploration runs. A slice's part is its own pull on the total: what it saves beyond the average of
both cohorts.

Sources: shift-share, Dunn, Papers in Regional Science 6 (1960); Shapley decomposition, Shorrocks,
Journal of Economic Inequality 11 (2013).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from math import factorial

import numpy as np

from evidence.costs.cohort_costs import Cohort, World, answering_costs, gates_of, last_costs, slice_names, world_of
from evidence.inputs import FloatArray


class Cause(StrEnum):
    TRAFFIC_MIX = "traffic_mix"
    ESCALATION = "escalation"
    PRICES = "prices"
    TOKENS = "tokens"
    EXPLORATION = "exploration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One cause's part of the change, in one slice; > 0 raised savings."""

    cause: Cause
    slice: str
    tier: int | None  # the tier escalated from; None for other causes
    gate: str | None
    change: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsChange:
    """The account: parts add up to after − before."""

    before: float
    after: float
    parts: tuple[Part, ...]

    def by_cause(self) -> Mapping[str, float]:
        """The change per cause, escalation per gate as `escalation:<gate>`.

        Examples:
            >>> part = Part(cause=Cause.ESCALATION, slice="a", tier=0, gate="ood", change=-0.1)
            >>> dict(SavingsChange(before=0.5, after=0.4, parts=(part,)).by_cause())
            {'escalation:ood': -0.1}
        """
        totals: dict[str, float] = {}
        for part in self.parts:
            name = part.cause.value if part.gate is None else f"{part.cause.value}:{part.gate}"
            totals[name] = totals.get(name, 0.0) + part.change
        return totals


def explain_savings_change(before: Cohort, after: Cohort) -> SavingsChange:
    """The exact account of the change of net savings between two cohorts of the same tiers.

    What a cohort never showed (the escalation rate of a slice without traffic, the tokens of a tier
    that never ran) is taken to be as in the other cohort, so that it explains nothing.

    Examples:
        >>> from evidence.costs.cohort_costs import Escalation, SliceCohort, TokenCount, TokenPrice
        >>> one = TokenCount(tokens_in=1.0, tokens_out=0.0)
        >>> def cohort(escalated):
        ...     gone = (Escalation(tier=0, gate="p_t", decisions=escalated),)
        ...     a = SliceCohort(slice="a", decisions=10, escalations=gone, tokens_per_run=(one,
        ...         one), last_tokens=one)
        ...     prices = (TokenPrice(per_token_in=1, per_token_out=1), TokenPrice(per_token_in=10,
        ...         per_token_out=10))
        ...     return Cohort(slices=(a,), prices=prices)
        >>> change = explain_savings_change(cohort(3), cohort(5))
        >>> round(change.before, 3), round(change.after,
        ...     3), round(change.by_cause()["escalation:p_t"], 3)
        (0.6, 0.4, -0.2)
    """
    names = slice_names(before, after)
    gates = gates_of(before, after)
    worlds = (world_of(before, after, names, gates), world_of(after, before, names, gates))
    savings = [float(1.0 - answering_costs(world).sum() / last_costs(world).sum()) for world in worlds]
    middle = sum(savings) / 2.0
    others = [cause for cause in Cause if cause is not Cause.ESCALATION]
    parts = [
        Part(cause=cause, slice=name, tier=None, gate=None, change=float(change))
        for cause in others
        for name, change in zip(names, _shapley(worlds, cause, middle), strict=True)
    ]
    by_gate = _escalation_by_gate(worlds)
    parts += [
        Part(cause=Cause.ESCALATION, slice=name, tier=tier, gate=gate, change=float(by_gate[k, g]))
        for k, name in enumerate(names)
        for g, (tier, gate) in enumerate(gates)
    ]
    return SavingsChange(before=savings[0], after=savings[1], parts=tuple(parts))


def _mixed(worlds: tuple[World, World], moved: Mapping[Cause, bool]) -> World:
    """The world in which only some causes have moved from before to after."""
    mix, escalation = worlds[moved[Cause.TRAFFIC_MIX]], worlds[moved[Cause.ESCALATION]]
    prices, tokens = worlds[moved[Cause.PRICES]], worlds[moved[Cause.TOKENS]]
    return World(
        share=mix.share,
        escalated=escalation.escalated,
        sent_to=mix.sent_to,
        prices=prices.prices,
        run_tokens=tokens.run_tokens,
        last_tokens=tokens.last_tokens,
        exploration_tokens=tokens.exploration_tokens,
        exploration_runs=worlds[moved[Cause.EXPLORATION]].exploration_runs,
    )


def _orders(cause: Cause) -> list[tuple[float, dict[Cause, bool]]]:
    """Every set of other causes that may have moved before this one, with its Shapley weight."""
    others = [other for other in Cause if other is not cause]
    weighted = []
    for choice in product((False, True), repeat=len(others)):
        first = sum(choice)
        weight = factorial(first) * factorial(len(others) - first) / factorial(len(others) + 1)
        weighted.append((weight, dict(zip(others, choice, strict=True))))
    return weighted


def _shapley(worlds: tuple[World, World], cause: Cause, middle: float) -> FloatArray:
    """[K] the cause's part per slice; slices pull by what they save beyond `middle`, which sums to
    savings − middle.
    """

    def pull(moved: Mapping[Cause, bool]) -> FloatArray:
        world = _mixed(worlds, moved)
        last = last_costs(world)
        return np.asarray(((1.0 - middle) * last - answering_costs(world)) / last.sum(), dtype=np.float64)

    parts = [weight * (pull({**o, cause: True}) - pull({**o, cause: False})) for weight, o in _orders(cause)]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float64)


def _escalation_by_gate(worlds: tuple[World, World]) -> FloatArray:
    """[K, G] the escalation part; cost is linear in each gate's rate, so it splits by gate without
    a remainder.
    """
    moved_by = worlds[1].escalated - worlds[0].escalated
    total = np.zeros_like(moved_by)
    for weight, others in _orders(Cause.ESCALATION):
        world = _mixed(worlds, {**others, Cause.ESCALATION: False})
        run_cost = (world.run_tokens * world.prices[None]).sum(axis=2)  # [K, T]
        price_of_gate = world.share[:, None] * (run_cost @ world.sent_to.T)  # [K, G]
        total -= weight * moved_by * price_of_gate / last_costs(world).sum()
    return total
