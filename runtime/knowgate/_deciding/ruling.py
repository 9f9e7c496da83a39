"""From what is in force and what was seen to a ruling: the runtime's side of deciding.

`policy.decide` alone says retain or escalate. What is done here comes before it: which bundle
decides this query, whether anything is in force at all, whether the hidden state and the probe
belong to the same model, which signals can be computed. Nothing here raises for a bad signal; only
a tier that the cascade does not decide at is refused, since that is a mistake in a program.
"""

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from knowgate._bundles.assignment import Mode
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.pair import Pair
from knowgate._bundles.tier_models import NOTHING_SEEN, Seen, TierModels
from knowgate._deciding.exploration import coin_falls, row_rate
from knowgate._deciding.intake import Intake
from knowgate._deciding.privacy import Purpose, SecretKey
from knowgate._models.features import Float16Array
from knowgate._records.construction import maker
from knowgate._records.records import Action, PTKind, Reason, Signals, Verdict
from knowgate.errors import KnowgateError, RecordInvalid
from knowgate.policy import NOTHING_KEPT, WITHHOLDING, decide, escalate_all

NOTHING_IN_FORCE = escalate_all(2)
# Looked up once, not for every decision.
_RETAIN, _ESCALATE = Action.RETAIN, Action.ESCALATE
_ACTIVE, _OBSERVE = Mode.ACTIVE, Mode.OBSERVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What to do with one tier's answer, and what that rests on."""

    verdict: Verdict
    signals: Signals
    fault: Reason | None  # what was found before the gates
    bundle: str | None  # id of the bundle whose models and policy were asked
    generation: int | None
    decision_id: UUID
    # What the verdict leaves out is to be run too, to learn from, and is not served: the last tier
    # beside a retained answer, the tier's own answer where it escalated before that, or the tiers
    # before the last where that one answered at once.
    explore: bool = False
    exploration_rate: float = 0.0  # the chance that `explore` was to be true, had there been something left out
    note: str | None = None  # what was dropped and why

    @property
    def retained(self) -> bool:
        """Whether this tier's answer is the one to serve."""
        return self.verdict.retained

    @property
    def answers(self) -> bool:
        """Of a ruling before the tier has answered: whether it is to, since nothing speaks against
        it yet, or to learn from it.
        """
        return self.explore or self.verdict.action is not _ESCALATE


_ruling = maker(Ruling)


def bundle_for(pair: Pair | None, key: SecretKey, decision_id: UUID, prompt_hash: str | None = None) -> Bundle | None:
    """The champion, or, for its share of the prompts, the challenger.

    The coin is the prompt's where its hash is known, so that a question which is asked again is
    decided by the same one; else the decision's own. A larger share takes the same prompts and
    more.
    """
    if pair is None:
        return None
    share = pair.assignment.share
    if pair.challenger is not None and share > 0.0:
        thrown_for = decision_id if prompt_hash is None else prompt_hash
        if key.coin(Purpose.CHALLENGER, thrown_for) < share:
            return pair.challenger
    return pair.champion


def rule(
    pair: Pair | None,
    bundle: Bundle | None,
    key: SecretKey,
    *,
    tier: int,
    decision_id: UUID,
    intake: Intake,
    slice: str | None,
    now: datetime,
    others: tuple[str, ...] = (),
    early: bool = False,
) -> Ruling:
    """The ruling on non-last tier `tier` by `bundle`, the one of the pair that decides this query;
    `early` = before the tier has answered.

    `others` = the models that run here, where they are others than the bundle was certified for. It
    is none for them: its thresholds are of the one model, its promise is measured against the
    other. Where an assignment says that nothing can be kept, no tier is waited for: before it has
    answered it is to escalate too. Raises RecordInvalid for a tier out of range or a naive `now`.
    """
    if now.tzinfo is None:
        raise RecordInvalid("now", now.isoformat(), "the time is naive; give an aware one")
    if bundle is None or not 0 <= tier < len(bundle.tiers):
        _require_tier(bundle, tier)
    fault = fault_in_force(pair, bundle, now)
    if others and fault is None and bundle is not None:
        certified = ", ".join(bundle.document.models)
        intake.notes.append(f"models: the bundle is certified for {certified}; {', '.join(others)} run here")
        fault = Reason.NO_BUNDLE
    signals, fault = _of_known_state(None if bundle is None else bundle.tiers[tier], intake, slice, fault)
    if not intake.settled:
        intake.settle()
    if bundle is not None:
        signals, fault = _of_known_kind(bundle.document.p_t_kinds[tier], intake, signals, fault)
    policy = NOTHING_IN_FORCE if bundle is None else bundle.document.policy
    waits = early and (pair is None or fault not in NOTHING_KEPT)
    verdict = decide(policy, signals, tier=0 if bundle is None else tier, fault=fault, early=waits)
    rate = row_rate(None if pair is None else pair.assignment, verdict)
    return _ruling(
        verdict,
        signals,
        fault,
        None if bundle is None else bundle.id,
        None if pair is None else pair.assignment.generation,
        decision_id,
        verdict.action is (_ESCALATE if early else _RETAIN) and coin_falls(key, decision_id, rate),
        rate,
        "; ".join(intake.notes) if intake.notes else None,
    )


def _of_known_state(
    models: TierModels | None, intake: Intake, slice: str | None, fault: Reason | None
) -> tuple[Signals, Reason | None]:
    """The signals that the models give; none of a state that is not of the model they know."""
    if models is None:
        return Signals(p_t=intake.seen.p_t), fault
    if _meets(models, intake):
        return _signals(models, intake, slice, intake.vector), fault
    return _signals(models, intake, slice, None), fault or Reason.FINGERPRINT_MISMATCH


def _of_known_kind(
    wanted: PTKind, intake: Intake, signals: Signals, fault: Reason | None
) -> tuple[Signals, Reason | None]:
    """A P(T) of another kind than the thresholds are for is kept as seen, for training, and
    compared with nothing.
    """
    seen = intake.seen
    if seen.p_t is None or seen.p_t_kind is None or seen.p_t_kind is wanted:
        return signals, fault
    intake.notes.append(f"p_t_kind is {seen.p_t_kind}: the bundle's thresholds are for {wanted}")
    withheld = Reason.P_T_KIND_MISMATCH if fault is None or fault in WITHHOLDING else fault
    return dataclasses.replace(signals, score=None), withheld


def rule_on_last(
    pair: Pair | None, bundle: Bundle | None, decision_id: UUID, intake: Intake, *, uncertified: bool
) -> Ruling:
    """The ruling on the last tier, whose answer is always retained; `uncertified` = no certificate
    covers the request.
    """
    intake.settle()
    return Ruling(
        verdict=Verdict(action=_RETAIN, reason=None),
        signals=Signals(p_t=intake.seen.p_t),
        fault=Reason.UNCERTIFIED_REQUEST if uncertified else None,
        bundle=None if bundle is None else bundle.id,
        generation=None if pair is None else pair.assignment.generation,
        decision_id=decision_id,
        note="; ".join(intake.notes) or None,
    )


def fault_in_force(pair: Pair | None, bundle: Bundle | None, now: datetime) -> Reason | None:
    """Why nothing can be kept, whatever any tier shows; None where something may be."""
    if pair is None:
        return Reason.NO_BUNDLE
    if now > pair.assignment.valid_until:
        return Reason.EXPIRED
    if pair.assignment.mode is not _ACTIVE:
        return Reason.OBSERVE if pair.assignment.mode is _OBSERVE else Reason.ESCALATE_ALL
    return Reason.NO_BUNDLE if bundle is None else None


def is_what_it_claims(intake: Intake, models: TierModels | None) -> bool:
    """Whether a vector may be kept to learn from: not one that is of another length than the model
    of the probe, which it claims to come from. With another fingerprint it is a redeployed model's,
    which is just what retraining needs.
    """
    if models is None or intake.vector is None or intake.seen.fingerprint != models.document.fingerprint:
        return True
    return len(intake.vector) == models.document.dimension


def _meets(models: TierModels, intake: Intake) -> bool:
    """Whether what was seen comes from the very model, layer and token the probe was fitted on."""
    wanted, fingerprint = models.document.fingerprint, intake.seen.fingerprint
    if fingerprint is wanted:
        return True
    if fingerprint is None:
        intake.settle()
        if intake.vector is None:
            return True
        intake.notes.append("fingerprint is None: a hidden state without one meets no probe")
        return False
    if fingerprint == wanted:
        return True
    intake.notes.extend(
        f"fingerprint.{field.name} is {getattr(fingerprint, field.name)!r}, the probe's {getattr(wanted, field.name)!r}"
        for field in dataclasses.fields(wanted)
        if getattr(fingerprint, field.name) != getattr(wanted, field.name)
    )
    return False


def _signals(models: TierModels, intake: Intake, slice: str | None, vector: Float16Array | None) -> Signals:
    seen = intake.seen
    try:
        states = NOTHING_SEEN if vector is None else _look(models, intake, vector)
        return models.signals_of(states, p_t=seen.p_t, entropy=seen.entropy, margin=seen.margin, slice=slice)
    except (KnowgateError, ArithmeticError, ValueError) as error:
        intake.notes.append(f"the signals could not be computed: {error}")
        return Signals(p_t=seen.p_t)


def _look(models: TierModels, intake: Intake, vector: Float16Array) -> Seen:
    dimension = models.document.dimension
    if len(vector) != dimension:
        intake.settle()
        if intake.vector is not None:
            intake.notes.append(f"hidden.shape is {vector.shape}: this tier reads ({dimension},)")
        return NOTHING_SEEN
    seen = models.look(vector, intake.seen.tokens_in)
    if seen is None:
        return NOTHING_SEEN
    intake.settled = True
    return seen


def _require_tier(bundle: Bundle | None, tier: int) -> None:
    known = None if bundle is None else len(bundle.tiers)
    if tier < 0 or (known is not None and tier >= known):
        cure = "tiers count from 0" if known is None else f"this cascade decides at tiers 0 to {known - 1}"
        raise RecordInvalid("tier", tier, cure)
