"""From what is in force and what was seen to a ruling: the runtime's side of deciding.

`policy.decide` alone says retain or escalate. What is done here comes before it: which bundle decides this id,
whether anything is in force at all, whether the hidden state and the probe belong to the same model, which signals
can be computed. Nothing here raises for a bad signal; only a tier that the cascade does not decide at is refused,
since that is a mistake in a program.
"""

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from knowgate.assignment import Mode
from knowgate.bundle import Bundle
from knowgate.errors import KnowgateError, RecordInvalid
from knowgate.exploration import coin_falls, row_rate
from knowgate.intake import Intake
from knowgate.pair import Pair
from knowgate.policy import WITHHOLDING, decide, escalate_all
from knowgate.privacy import Purpose, SecretKey
from knowgate.records import Fingerprint, Reason, Signals, Verdict
from knowgate.tier_models import TierModels

NOTHING_HELD = escalate_all(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What to do with one tier's answer, and what that rests on."""

    verdict: Verdict
    signals: Signals
    fault: Reason | None  # what was found before the gates
    bundle: str | None  # id of the bundle whose models and policy were asked
    generation: int | None
    decision_id: UUID
    explore: bool = False  # retained, and the last tier is to be run too, to learn from; its answer is not served
    exploration_rate: float = 0.0  # the chance that `explore` was to be true, had the answer been retained
    note: str | None = None  # what was dropped and why

    @property
    def retained(self) -> bool:
        """Whether this tier's answer is the one to serve."""
        return self.verdict.retained


def bundle_for(pair: Pair | None, key: SecretKey, decision_id: UUID) -> Bundle | None:
    """The champion, or, for its share of the ids, the challenger."""
    if pair is None:
        return None
    if pair.challenger is not None and key.coin(Purpose.CHALLENGER, decision_id) < pair.assignment.share:
        return pair.challenger
    return pair.champion


def explores(pair: Pair | None, key: SecretKey, decision_id: UUID) -> bool:
    """Whether this id is explored whatever its answer shows: its coin falls below the floor in force."""
    return pair is not None and coin_falls(key, decision_id, row_rate(pair.assignment, None))


def rule(
    pair: Pair | None,
    key: SecretKey,
    *,
    tier: int,
    decision_id: UUID,
    intake: Intake,
    fingerprint: Fingerprint | None,
    slice: str | None,
    now: datetime,
) -> Ruling:
    """The ruling on non-last tier `tier`. Raises RecordInvalid for a tier out of range or a naive `now`."""
    if now.tzinfo is None:
        raise RecordInvalid("now", now.isoformat(), "the time is naive; give an aware one")
    bundle = bundle_for(pair, key, decision_id)
    _require_tier(bundle, tier)
    fault = _fault(pair, bundle, now)
    notes = list(intake.notes)
    models = None if bundle is None else bundle.tiers[tier]
    if models is None:
        signals = Signals(p_t=intake.p_t)
    else:
        mismatched = not _meets(models, intake, fingerprint, notes)
        fault = fault or (Reason.FINGERPRINT_MISMATCH if mismatched else None)
        signals = _signals(models, intake, slice, notes, blind=mismatched)
    if bundle is not None and intake.p_t_kind is not None and intake.p_t is not None:
        wanted = bundle.document.p_t_kinds[tier]
        if intake.p_t_kind is not wanted:
            notes.append(f"p_t_kind is {intake.p_t_kind}: the bundle's thresholds are for {wanted}")
            signals = dataclasses.replace(signals, score=None)  # kept as seen, for training; compared with nothing
            fault = Reason.P_T_KIND_MISMATCH if fault is None or fault in WITHHOLDING else fault
    policy = NOTHING_HELD if bundle is None else bundle.document.policy
    verdict = decide(policy, signals, tier=0 if bundle is None else tier, fault=fault)
    rate = row_rate(None if pair is None else pair.assignment, verdict)
    return Ruling(
        verdict=verdict,
        signals=signals,
        fault=fault,
        bundle=None if bundle is None else bundle.id,
        generation=None if pair is None else pair.assignment.generation,
        decision_id=decision_id,
        explore=verdict.retained and coin_falls(key, decision_id, rate),
        exploration_rate=rate,
        note="; ".join(notes) or None,
    )


def _fault(pair: Pair | None, bundle: Bundle | None, now: datetime) -> Reason | None:
    if pair is None:
        return Reason.NO_BUNDLE
    if now > pair.assignment.valid_until:
        return Reason.EXPIRED
    if pair.assignment.mode is Mode.ESCALATE_ALL:
        return Reason.ESCALATE_ALL
    return Reason.NO_BUNDLE if bundle is None else None


def _meets(models: TierModels, intake: Intake, fingerprint: Fingerprint | None, notes: list[str]) -> bool:
    """Whether what was seen comes from the very model, layer and token the probe was fitted on."""
    if fingerprint is None:
        if intake.vector is None:
            return True
        notes.append("fingerprint is None: a hidden state without one meets no probe")
        return False
    wanted = models.document.fingerprint
    if fingerprint is wanted or fingerprint == wanted:
        return True
    differing = [
        f"fingerprint.{field.name} is {getattr(fingerprint, field.name)!r}, the probe's {getattr(wanted, field.name)!r}"
        for field in dataclasses.fields(wanted)
        if getattr(fingerprint, field.name) != getattr(wanted, field.name)
    ]
    notes.extend(differing)
    return False


def _signals(models: TierModels, intake: Intake, slice: str | None, notes: list[str], *, blind: bool) -> Signals:
    x = None if blind else intake.features
    dimension = models.document.dimension
    if x is not None and len(x) != dimension:
        notes.append(f"hidden.shape is {x.shape}: this tier reads ({dimension},)")
        x = None
    try:
        return models.signals_of(
            x,
            p_t=intake.p_t,
            tokens_in=intake.tokens_in,
            entropy=intake.entropy,
            margin=intake.margin,
            slice=slice,
        )
    except (KnowgateError, ArithmeticError, ValueError) as error:
        notes.append(f"the signals could not be computed: {error}")
        return Signals(p_t=intake.p_t)


def _require_tier(bundle: Bundle | None, tier: int) -> None:
    known = None if bundle is None else len(bundle.tiers)
    if tier < 0 or (known is not None and tier >= known):
        told = "tiers count from 0" if known is None else f"this cascade decides at tiers 0 to {known - 1}"
        raise RecordInvalid("tier", tier, told)
