"""A rollout in steps: the moves between a promotion check that passed and the champion. A part of
the state machine of `services.promotion.rollout`, whose rules hold here too.

    check passed ──▶ shadow ──passed──▶ share ──passed──▶ … ──passed──▶ champion
                        │                 │
                        └───harmful, error, inconclusive at the deadline,
                            a ring of the risk alarm, any other move──▶ aborted

- A cascade that declares no steps has none: what passed the check is the champion.
- In the shadow (share 0) the challenger decides nothing. What it would have kept of the logged
  decisions is judged. The assignment names it, so runtimes have it, or refuse it, before it
  matters.
- With a share it decides those queries, drawn by the prompt's hash. What it kept of them is judged.
- Both arms hold a certificate of their own, and the risk alarm reads both.
- Where nothing is in force beside it, the other queries go to the last tier.
- No steps are made where they would protect nothing: where the champion is shown to break its
  promise, and where the challenger keeps nothing that the champion does not keep.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from evidence.certification.step import StepOutcome
from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate.policy import Policy, PolicyKind
from monitoring.words import short, to_tenths
from services.errors import Refused
from services.promotion import rollout
from services.promotion.bundle_files import sealed_document
from services.promotion.generations import share_out, take_back
from services.promotion.promotion import PromotionCheck
from services.promotion.rollout_state import Why
from services.promotion.standing import StepCheck
from services.settings import Settings
from store.releases import cascades


def introduce(
    session: Session, current: Assignment, bundle_id: str, settings: Settings, why: Why, *, now: datetime
) -> Assignment:
    """Take the first step of a bundle that passed the check; the champion at once where no steps
    are declared, or where they would protect nothing.

    Raises Refused as `rollout.promote` does.
    """
    if current.challenger == bundle_id:
        cure = f"`knowgate promote {short(bundle_id)} --reason TEXT` skips the steps"
        raise Refused(f"bundle {short(bundle_id)} is in its rollout already: {cure}")
    steps = cascades.cascade(session, current.cascade).promotion.steps
    share = steps[0] if steps else 1.0
    if share >= 1.0 or _protects_nothing(session, current, bundle_id, why):
        return rollout.promote(session, current, bundle_id, settings, why, now=now)
    rollout.require_startable(session, current, bundle_id, why, now=now)
    begun = replace(why, reason=f"{why.reason}; first step: {_step(share)}")
    return share_out(session, current, settings, begun, challenger=bundle_id, share=share, now=now)


def advance(
    session: Session, current: Assignment, settings: Settings, check: StepCheck, *, now: datetime
) -> Assignment:
    """Take the next step of a challenger that passed this one, or make it the champion.

    Raises Refused as `rollout.promote` does.
    """
    assert current.challenger is not None
    steps = cascades.cascade(session, current.cascade).promotion.steps
    share = next((one for one in steps if one > current.share), 1.0)
    why = Why(reason=f"{_found(check)}; {'it decides all' if share >= 1.0 else _step(share)}", check=check)
    if share >= 1.0:
        return rollout.promote(session, current, current.challenger, settings, why, now=now)
    rollout.require_startable(session, current, current.challenger, why, now=now)
    return share_out(session, current, settings, why, challenger=current.challenger, share=share, now=now)


def abort(
    session: Session, current: Assignment, settings: Settings, why: Why, *, now: datetime, refused: bool = True
) -> Assignment:
    """End the rollout; what is in force beside it stays. `refused` = the challenger is not judged
    again.
    """
    return take_back(session, current, settings, why, now=now, refused=refused)


def declined(check: StepCheck, error: str | None) -> Why:
    """Why a step ends the rollout."""
    found = error if error is not None else _found(check)
    if check.verdict.outcome is StepOutcome.INCONCLUSIVE:
        found = (
            f"{found}; it lacked {check.verdict.missing} at its deadline, {check.demand.deadline:%Y-%m-%d %H:%M} UTC"
        )
    return Why(reason=f"{check.verdict.outcome.value}: {found}", check=check)


def waiting(check: StepCheck, held: str | None) -> Why:
    """What a step waits for; `held` = why no job takes the next one."""
    if check.verdict.outcome is StepOutcome.PASSED:
        return Why(reason=f"passed: {_found(check)}; it waits: {held}", check=check)
    until = f"until {check.demand.deadline:%Y-%m-%d %H:%M} UTC"
    return Why(reason=f"inconclusive: {_found(check)}; it waits for {check.verdict.missing}, {until}", check=check)


def _step(share: float) -> str:
    return "it decides beside what is in force" if share == 0.0 else f"it decides {to_tenths(share)} of the queries"


def _found(check: StepCheck) -> str:
    decided = "it would have kept" if check.share == 0.0 else "it kept"
    if check.look is None or check.look.estimate is None:
        return f"nothing is known yet of what {decided}"
    look = check.look
    side = "broken" if look.broken else "on the promise's side" if look.keeps else "on the wrong side of the promise"
    return f"of what {decided} {look.n} rows of {look.decisions} decisions count, estimate {look.estimate:+.4f}: {side}"


def _protects_nothing(session: Session, current: Assignment, bundle_id: str, why: Why) -> bool:
    """Whether what decides now is worth no care: it breaks its promise, or keeps all that the
    bundle keeps.
    """
    if current.mode is not Mode.ACTIVE or current.champion is None:
        return False
    comparison = why.check.comparison if isinstance(why.check, PromotionCheck) else None
    if comparison is not None and comparison.champion == current.champion and comparison.champion_broken:
        return True
    return _keeps_less(sealed_document(session, bundle_id), sealed_document(session, current.champion))


def _keeps_less(challenger: BundleDocument, champion: BundleDocument) -> bool:
    """Whether the challenger keeps nothing that the champion does not keep, as far as their
    thresholds show it: of two tiers, on the same P(T), and not lower. In a longer chain the tier
    after it may keep what one escalates.
    """
    policies = (challenger.policy, champion.policy)
    same = challenger.models == champion.models and challenger.p_t_kinds == champion.p_t_kinds
    if not same or any(policy.kind is not PolicyKind.P_T or len(policy.rules) != 1 for policy in policies):
        return False
    own, theirs = map(_threshold, policies)
    return own >= theirs


def _threshold(policy: Policy) -> float:
    """Of the first tier; above every P(T) where it retains nothing."""
    gates = policy.rules[0]
    return 2.0 if gates is None else gates[0].threshold
