"""A cohort as savings are explained by: slices with their traffic, escalations, tokens and
exploration, and prices.

Records go in, arrays over (slice, tier, gate) come out, in which one cause can be moved while the
others stay. What a cohort never showed is taken from the cohort it is compared with, so that it
explains nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, count, number


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """Mean tokens of one run."""

    tokens_in: float
    tokens_out: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """What a tier's tokens cost, in one unit throughout (USD per token, or GFLOPs per token)."""

    per_token_in: float
    per_token_out: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Decisions that a gate sent on from a tier to the next."""

    tier: int
    gate: str
    decisions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceCohort:
    """One slice of one cohort."""

    slice: str
    decisions: int
    escalations: tuple[Escalation, ...]
    tokens_per_run: tuple[TokenCount, ...]  # per tier, of its served and superseded runs; any value where none ran
    last_tokens: TokenCount  # per decision, had the last tier answered it
    exploration_runs: int = 0  # of the last tier
    exploration_tokens: TokenCount = TokenCount(tokens_in=0.0, tokens_out=0.0)  # per exploration run


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """All slices of a cohort and the prices of its days."""

    slices: tuple[SliceCohort, ...]
    prices: tuple[TokenPrice, ...]  # per tier, cheapest first


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """A cohort as arrays over slices K, tiers T, gates G; the second axis of tokens and prices is
    (in, out).
    """

    share: FloatArray  # [K]
    escalated: FloatArray  # [K, G] per decision
    sent_to: FloatArray  # [G, T] 1 where the gate sends to the tier
    prices: FloatArray  # [T, 2]
    run_tokens: FloatArray  # [K, T, 2]
    last_tokens: FloatArray  # [K, 2]
    exploration_tokens: FloatArray  # [K, 2]
    exploration_runs: FloatArray  # [K] per decision


def answering_costs(world: World) -> FloatArray:
    """[K] the cost per decision of the cohort, spent in each slice."""
    runs = world.escalated @ world.sent_to  # [K, T]
    runs[:, 0] += 1.0
    answers = (runs[:, :, None] * world.run_tokens * world.prices[None]).sum(axis=(1, 2))
    learning = world.exploration_runs * (world.exploration_tokens @ world.prices[-1])
    return np.asarray(world.share * (answers + learning), dtype=np.float64)


def last_costs(world: World) -> FloatArray:
    """[K] the cost per decision of the cohort, had the last tier answered everything."""
    return np.asarray(world.share * (world.last_tokens @ world.prices[-1]), dtype=np.float64)


def slice_names(before: Cohort, after: Cohort) -> list[str]:
    """The slices with traffic in either cohort, sorted; raises InvalidInputError where the two
    cannot be compared.
    """
    for name, cohort in (("before", before), ("after", after)):
        names = [part.slice for part in cohort.slices]
        if not names or sum(part.decisions for part in cohort.slices) == 0:
            raise InvalidInputError(f"{name} has no decisions; compare cohorts that have traffic")
        if len(set(names)) != len(names):
            raise InvalidInputError(f"{name} names a slice twice: {sorted(names)}; merge its figures first")
    if len(before.prices) != len(after.prices) or len(before.prices) < 2:
        raise InvalidInputError(
            f"before has {len(before.prices)} tiers and after {len(after.prices)}, expected the same two or more;"
            " compare cohorts of one cascade"
        )
    return sorted({part.slice for cohort in (before, after) for part in cohort.slices if part.decisions > 0})


def gates_of(before: Cohort, after: Cohort) -> list[tuple[int, str]]:
    """Every (tier, gate) that escalated in either cohort, sorted."""
    last = len(before.prices) - 1
    gates = {(e.tier, e.gate) for cohort in (before, after) for part in cohort.slices for e in part.escalations}
    for tier, gate in gates:
        if not 0 <= tier < last:
            raise InvalidInputError(f"escalation by {gate} names tier {tier}, expected 0 to {last - 1}; correct it")
    return sorted(gates)


def world_of(cohort: Cohort, other: Cohort, names: Sequence[str], gates: Sequence[tuple[int, str]]) -> World:
    """The cohort as arrays; what it never showed is taken from the other."""
    tiers = len(cohort.prices)
    total = sum(part.decisions for part in cohort.slices)
    own, others = ({p.slice: p for p in c.slices if p.decisions > 0} for c in (cohort, other))
    shown = [own.get(name) or others.get(name) for name in names]
    parts = [(name, part) for name, part in zip(names, shown, strict=True) if part is not None]
    sent_to = np.zeros((len(gates), tiers))
    for g, (tier, _) in enumerate(gates):
        sent_to[g, tier + 1] = 1.0
    tokens = [[_run_tokens(name, t, tiers, part, own, others) for t in range(tiers)] for name, part in parts]
    return World(
        share=np.array([own[name].decisions / total if name in own else 0.0 for name, _ in parts]),
        escalated=np.array([_rates(part, gates) for _, part in parts]).reshape(len(parts), len(gates)),
        sent_to=sent_to,
        prices=np.array([[_price(p.per_token_in), _price(p.per_token_out)] for p in cohort.prices]),
        run_tokens=np.array(tokens),
        last_tokens=np.array([_pair(part.last_tokens) for _, part in parts]),
        exploration_tokens=np.array([_exploration_tokens(name, part, own, others) for name, part in parts]),
        exploration_runs=np.array([count("exploration_runs", p.exploration_runs) / p.decisions for _, p in parts]),
    )


def _rates(part: SliceCohort, gates: Sequence[tuple[int, str]]) -> list[float]:
    rates = dict.fromkeys(gates, 0.0)
    for escalation in part.escalations:
        rates[(escalation.tier, escalation.gate)] += count("escalation", escalation.decisions) / part.decisions
    return [rates[gate] for gate in gates]


def _run_tokens(
    name: str,
    tier: int,
    tiers: int,
    part: SliceCohort,
    own: Mapping[str, SliceCohort],
    other: Mapping[str, SliceCohort],
) -> tuple[float, float]:
    """Tokens per run of a tier: of this cohort where the tier ran, else of the other."""
    for shown in (own.get(name), other.get(name), part):
        if shown is None:
            continue
        if len(shown.tokens_per_run) != tiers:
            raise InvalidInputError(
                f"tokens_per_run of slice {name} has {len(shown.tokens_per_run)} tiers, not {tiers}"
            )
        if tier == 0 or any(e.tier == tier - 1 and e.decisions > 0 for e in shown.escalations):
            return _pair(shown.tokens_per_run[tier])
    return _pair(part.tokens_per_run[tier])


def _exploration_tokens(
    name: str, part: SliceCohort, own: Mapping[str, SliceCohort], other: Mapping[str, SliceCohort]
) -> tuple[float, float]:
    for shown in (own.get(name), other.get(name)):
        if shown is not None and shown.exploration_runs > 0:
            return _pair(shown.exploration_tokens)
    return _pair(part.exploration_tokens)


def _pair(tokens: TokenCount) -> tuple[float, float]:
    return number("tokens_in", tokens.tokens_in, low=0.0), number("tokens_out", tokens.tokens_out, low=0.0)


def _price(price: float) -> float:
    return number("price", price, low=0.0)
