"""What a table's signals are worth: how they order answers, and how far thresholds on them seem to
reach.

"Seem": an estimate looks at the labels that it is judged by, so it is shown only where no
certificate could be given.
"""

from dataclasses import dataclass

import numpy as np

from evidence.certification.certificate import Target
from evidence.certification.path import path_of
from evidence.signals.calibration import overconfidence
from evidence.signals.quality import Figure, auroc
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate.policy import GATES_OF, Policy, PolicyKind, kept_tiers
from knowgate.spec import TargetKind
from services.outcome_tables.outcomes import OutcomeTable
from services.sure_tokens import CURE, too_sure

WEAK_AUROC = 0.55  # an interval wholly below it: next to no order


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalWorth:
    """One signal of one tier on the queries whose answers are graded."""

    tier: int
    signal: str
    distinct: int  # values; 1 = it says the same of every query
    auroc: Figure | None  # None where all answers are right or all wrong
    overconfidence: float | None  # wrong among answers with a signal of 0.9 and more; None where there is none

    @property
    def useless(self) -> bool | None:
        """None where answers that are all right or all wrong cannot tell."""
        if self.distinct < 2:
            return True
        return None if self.auroc is None else self.auroc.upper < WEAK_AUROC

    @property
    def sentence(self) -> str:
        if self.distinct < 2:
            return f"{self.signal} is the same for every query"
        if self.auroc is None:
            return f"{self.signal} cannot be judged where all answers are right or all wrong"
        return f"AUROC of {self.signal} {self.auroc.value:.3f} ({self.auroc.lower:.3f} to {self.auroc.upper:.3f})"


def signal_arrays(table: OutcomeTable, kind: PolicyKind, rows: BoolArray) -> list[dict[str, FloatArray]]:
    """Per non-last tier the signals of the kind's gates on the chosen rows, by gate name."""
    gates = [str(gate) for gate in GATES_OF[kind] if gate != "ood"]
    return [{gate: getattr(table, gate)[rows, tier] for gate in gates} for tier in range(table.tiers - 1)]


def signals_worth(signals: list[dict[str, FloatArray]], correct: FloatArray) -> tuple[SignalWorth, ...]:
    """What each signal says of its own tier's answers; a grade of a half and more
    counts as right.
    """
    worths = []
    for tier, columns in enumerate(signals):
        for name, values in columns.items():
            known = np.isfinite(values)
            seen, right = values[known], correct[known, tier] >= 0.5
            worths.append(
                SignalWorth(
                    tier=tier,
                    signal=name,
                    distinct=len(np.unique(seen)),
                    auroc=auroc(seen, right) if right.any() and not right.all() else None,
                    overconfidence=overconfidence(seen, right.astype(float), np.ones(len(seen), dtype=bool))
                    if len(seen)
                    else None,
                )
            )
    return tuple(worths)


def sure_signals(table: OutcomeTable, kind: PolicyKind) -> tuple[str, ...]:
    """What is wrong with each non-last tier's P(T), where the rule looks at it and it is near 1 on
    answers that are mostly not right; with what helps.
    """
    if "p_t" not in GATES_OF[kind]:
        return ()
    said = []
    for tier in range(table.tiers - 1):
        kinds = [str(one) for one in table.p_t_kind[:, tier] if one is not None]
        name = f"tier {tier} ({table.models[tier]})"
        said.append(too_sure(name, kinds[0] if kinds else None, table.p_t[:, tier], table.correct[:, tier]))
    return tuple(f"{one}: {CURE}" for one in said if one is not None)


def boldest_estimated(
    kind: PolicyKind, signals: list[dict[str, FloatArray]], correct: FloatArray, target: Target
) -> Policy | None:
    """The thresholds that retain most while these very rows keep the target; None where
    none does.
    """
    best: Policy | None = None
    most = 0.0
    last = correct.shape[1] - 1
    for thresholds in path_of(kind, signals):
        policy = Policy(kind=kind, rules=thresholds)
        kept = kept_tiers(policy, signals)
        retained = float((kept < last).mean())
        if retained > most and _keeps(target, kept, correct):
            best, most = policy, retained
    return best


def _keeps(target: Target, kept: IntArray, correct: FloatArray) -> bool:
    """Whether these rows keep the target, at least one of them retained."""
    answer, last = correct[np.arange(len(correct)), kept], correct.shape[1] - 1
    if target.kind is TargetKind.MAX_ACCURACY_DROP:
        return bool((correct[:, last] - answer).mean() <= target.value)
    return bool(answer[kept < last].mean() >= target.value)
