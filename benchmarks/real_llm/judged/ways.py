"""The rules that are certified beside each other, and what each keeps, loses and saves on traffic
that comes later.

Everything that decides is the product's: paths, speeds, test, fallback and refusal are those of a
training run (`training.certification.certify`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.real_llm.judged.draws import Taught, window
from benchmarks.real_llm.judged.prices import Costs
from benchmarks.real_llm.recording import Outcomes
from benchmarks.real_llm.rows import cascade_rows
from evidence.certification.nested_path import Signals, signals_of_rows
from knowgate._records.arrays import BoolArray
from knowgate._records.records import PTKind
from knowgate.policy import PolicyKind, escalate_all
from knowgate.spec import Targets
from training.certification.certify import Certified, certify_kind, kept_at
from training.certification.savings import cohort_savings, ended_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One row of the report's tables."""

    name: str
    title: str
    rule: PolicyKind
    p_t: PTKind = PTKind.MEAN
    early: bool = False  # a gate on P(IK) ends the tier before it answers
    sliced: bool = True  # the score knows the kind of question


WAYS: tuple[Way, ...] = (
    Way(name="p_t_first", title="P(T), first token", rule=PolicyKind.P_T, p_t=PTKind.FIRST_TOKEN),
    Way(name="p_t_mean", title="P(T), mean", rule=PolicyKind.P_T),
    Way(name="p_ik", title="P(IK), answering first", rule=PolicyKind.P_IK),
    Way(name="p_ik_early", title="P(IK), before an answer", rule=PolicyKind.P_IK, early=True),
    Way(name="gates", title="P(IK) and P(T), answering first", rule=PolicyKind.GATES),
    Way(name="gates_early", title="P(IK) before an answer, then P(T)", rule=PolicyKind.GATES, early=True),
    Way(name="score", title="score, with the slice", rule=PolicyKind.SCORE),
    Way(name="score_without_slice", title="score, without", rule=PolicyKind.SCORE, sliced=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a policy did on the questions that came later."""

    retained: float  # share of them
    skipped: float  # share of them that a gate ended before an answer
    drop: float  # accuracy lost against the last tier alone
    savings: float  # of the last tier's cost alone; 0 where nothing is certified: it is then asked alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One way in one draw."""

    certified: bool  # anything at all
    by_rule: bool  # by the rule itself and not by P(T) alone, its fallback
    kept: Kept
    by_kind: dict[str, Kept]


def tried(tiers: Sequence[Outcomes], taught: Taught, way: Way, costs: Costs, targets: Targets) -> Tried:
    """Certifies one way on the draw's certification rows and plays it on what comes later."""
    early = costs.early if way.early else {}
    rows = cascade_rows(tiers, way.p_t, costs.tiers, sliced=way.sliced, early=early)
    rows = window(rows, taught.later)
    signals = [_signals(tiers, taught, way)]
    certified = certify_kind(rows, taught.split, signals, targets, kind=way.rule, delta=targets.delta)
    policy = escalate_all(len(tiers)) if certified is None else certified.policy
    promised = certified is not None and certified.certified
    kinds = np.array(tiers[0].kind)
    played = {kind: taught.later & (kinds == kind) for kind in dict.fromkeys(tiers[0].kind)}

    def on(chosen: BoolArray) -> Kept:
        later, shown = rows.take(chosen), signals_of_rows(signals, chosen)
        kept, ended = kept_at(policy, later, shown), ended_at(policy, later, shown)
        right = np.column_stack([tier.correct for tier in later.tiers])
        saved = cohort_savings(later, kept, ended)
        return Kept(
            retained=float((kept == 0).mean()),
            skipped=float(ended.mean()),
            drop=float((right[:, -1] - right[np.arange(len(kept)), kept]).mean()),
            savings=float("nan") if saved is None else saved.value if promised else 0.0,
        )

    return Tried(
        certified=promised,
        by_rule=_by_rule(certified, way),
        kept=on(taught.later),
        by_kind={kind: on(chosen) for kind, chosen in played.items() if chosen.any()},
    )


def _signals(tiers: Sequence[Outcomes], taught: Taught, way: Way) -> Signals:
    signals = dict(taught.signals)
    if way.p_t is PTKind.FIRST_TOKEN:
        signals["p_t"] = tiers[0].p_t_first
    if not way.sliced:
        signals["score"] = taught.score_without_slice
    return signals


def _by_rule(certified: Certified | None, way: Way) -> bool:
    return certified is not None and certified.certified and certified.policy.kind is way.rule


def targets_of(value: float, delta: float) -> Targets:
    """A promise of at most this drop."""
    return replace(Targets(), value=value, delta=delta)
