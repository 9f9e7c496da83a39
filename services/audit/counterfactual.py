"""What another bundle would have done with a decision: the same function decides
(`knowgate.policy.decide`), on what the decision shows.

What the other bundle's models say of a hidden state has to be computed from the state. Where it was
not stored, or a tier did not run, nobody knows, and that is what is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from knowgate import Action, Attempt, Bundle, Decision, Reason, Role, Signals, Verdict
from knowgate.policy import decide
from monitoring.words import short
from store.shards.shards import Float16Array

_OF_A_STATE = (Reason.P_IK, Reason.OOD, Reason.SCORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherVerdict:
    """What the bundle would have said at one tier."""

    tier: int
    verdict: Verdict | None  # None = nobody knows
    unknown: str | None = None  # why


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """One decision as another bundle would have made it."""

    bundle: str
    is_champion: bool  # of today
    verdicts: tuple[OtherVerdict, ...]  # up to the tier that would have been kept
    serves: int | None  # the tier; None = nobody knows
    served: int  # the tier that did

    @property
    def sentence(self) -> str:
        """In words."""
        named = f"bundle {short(self.bundle)}{', the champion of today,' if self.is_champion else ''}"
        if self.serves is None:
            return f"what {named} would have done is not known: {self.verdicts[-1].unknown}"
        if self.serves == self.served:
            return f"{named} would have served tier {self.serves} too"
        return f"{named} would have served tier {self.serves}, not tier {self.served}"


def counterfactual(
    decision: Decision, bundle: Bundle, vectors: Mapping[int, Float16Array], *, is_champion: bool
) -> Counterfactual:
    """Decide `decision` by `bundle`, were it in force. `vectors` holds the stored hidden state [d]
    of the tiers that have one.
    """
    attempts = {attempt.tier: attempt for attempt in decision.attempts}
    verdicts: list[OtherVerdict] = []
    serves: int | None = len(bundle.tiers)
    for tier in range(len(bundle.tiers)):
        said = _verdict(decision, attempts.get(tier), bundle, tier, vectors.get(tier))
        verdicts.append(said)
        if said.verdict is None or said.verdict.retained:
            serves = None if said.verdict is None else tier
            break
    return Counterfactual(
        bundle=bundle.id,
        is_champion=is_champion,
        verdicts=tuple(verdicts),
        serves=serves,
        served=decision.served.tier,
    )


def _verdict(
    decision: Decision, attempt: Attempt | None, bundle: Bundle, tier: int, vector: Float16Array | None
) -> OtherVerdict:
    gates = bundle.document.policy.rules[tier]
    if gates is None:
        return OtherVerdict(tier=tier, verdict=decide(bundle.document.policy, Signals(), tier=tier))
    if attempt is None:
        return OtherVerdict(tier=tier, verdict=None, unknown=f"tier {tier} did not run")
    if bundle.id == decision.bundle:
        signals, fault = attempt.signals, _lasting(attempt.fault)
    else:
        if vector is None and any(gate.signal in _OF_A_STATE for gate in gates):
            return OtherVerdict(tier=tier, verdict=None, unknown=f"the hidden state of tier {tier} is not stored")
        signals, fault = _signals(decision, attempt, bundle, vector)
    early = attempt.role is Role.SKIPPED
    verdict = decide(bundle.document.policy, signals, tier=tier, fault=fault, early=early)
    if verdict.action is Action.NOT_YET:
        return OtherVerdict(tier=tier, verdict=None, unknown=f"tier {tier} was ended before it answered")
    return OtherVerdict(tier=tier, verdict=verdict)


def _lasting(fault: Reason | None) -> Reason | None:
    """The fault, where it is of the attempt; what was in force then is left aside."""
    return fault if fault in (Reason.FINGERPRINT_MISMATCH, Reason.P_T_KIND_MISMATCH) else None


def _signals(
    decision: Decision, attempt: Attempt, bundle: Bundle, vector: Float16Array | None
) -> tuple[Signals, Reason | None]:
    models, fault = bundle.tiers[attempt.tier], None
    p_t = attempt.signals.p_t
    if models is None:
        signals = Signals(p_t=p_t)
    else:
        if vector is not None and attempt.fingerprint != models.document.fingerprint:
            vector, fault = None, Reason.FINGERPRINT_MISMATCH
        signals = models.signals(
            p_t=p_t,
            hidden=vector,
            tokens_in=attempt.tokens_in,
            entropy=attempt.entropy,
            margin=attempt.margin,
            slice=decision.slice,
        )
    if p_t is not None and attempt.p_t_kind not in (None, bundle.document.p_t_kinds[attempt.tier]):
        return replace(signals, score=None), Reason.P_T_KIND_MISMATCH
    return signals, fault
