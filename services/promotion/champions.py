"""What was in force before, and what a risk alarm says against it: read from promotions and rings,
never guessed.

- Former champions lie one on top of another. A promotion puts one on top; a rollback takes the top
  away for good, so that rolling back ever again comes to an end and never toggles.
- A bundle is condemned where a risk alarm stopped it, where its own decisions show the harm that
  rang, and where the paired comparison or a step of its rollout showed that its promise is broken.
  It stays so: who wants it back says so on purpose.
"""

import json

from sqlalchemy.orm import Session

from evidence.certification.step import StepOutcome
from knowgate._bundles.assignment import Assignment, Mode
from store.releases import promotions, rings
from store.releases.promotions import Outcome, PromotionRecord
from store.releases.rings import RingRecord

STOPPED_BY_ALARM = "risk alarm: "  # how the reason of such a stop begins


def last_ring(session: Session, cascade: str) -> RingRecord | None:
    """The newest ring of the risk alarm."""
    rung = rings.rings(session, cascade, rings.RISK)
    return rung[-1] if rung else None


def condemned(session: Session, cascade: str) -> dict[str, str]:
    """Why each bundle is condemned that is, in words that follow "by"."""
    why: dict[str, str] = {}
    for record in promotions.promotions(session, cascade):
        if _is_old_stop(record) and record.previous is not None:
            why[record.previous] = f"the {record.reason}"
        check = json.loads(record.check)
        if record.outcome is Outcome.ABORTED and check.get("verdict", {}).get("outcome") == StepOutcome.HARMFUL:
            why[str(record.bundle)] = f"its rollout, which ended as {record.reason}"
        comparison = check.get("comparison") or {}
        if comparison.get("champion_broken"):
            why[comparison["champion"]] = f"a comparison on {comparison['n']} rows, which showed its promise broken"
    for ring in rings.rings(session, cascade, rings.RISK):
        accused = {*ring.spoken.accused, ring.stopped}
        if not ring.spoken.accused:
            accused.add(ring.spoken.champion)
        for bundle in accused - {None}:
            why[str(bundle)] = f"the risk alarm of {ring.rang_at:%Y-%m-%d %H:%M} UTC ({ring.cause})"
    return why


def former_champions(session: Session, current: Assignment) -> tuple[str, ...]:
    """What was in force beneath the present champion, the newest first."""
    stack: list[str] = []
    for record in promotions.promotions(session, current.cascade):
        if record.outcome in (Outcome.PROMOTED, Outcome.FELL_BACK) and record.bundle is not None:
            if record.previous is not None and record.previous not in stack:
                stack.append(record.previous)  # it came into force before anything was recorded
            stack.append(record.bundle)
        elif record.outcome is Outcome.ROLLED_BACK and not _is_old_stop(record):
            stack = [] if record.bundle is None else [*_beneath(stack, record.bundle, record.previous), record.bundle]
    beneath = stack if current.champion is None else _beneath(stack, current.champion, None)
    return tuple(dict.fromkeys(reversed(beneath)))


def was_in_force(session: Session, cascade: str, bundle: str) -> bool:
    """Whether the bundle ever decided for the cascade."""
    records = promotions.promotions(session, cascade)
    return any(bundle in (record.bundle, record.previous) for record in records if record.outcome.moves)


def stop_in_force(session: Session, current: Assignment) -> PromotionRecord | None:
    """What stopped the cascade, or put it back to be observed; None where neither is in force, or
    nothing says so.
    """
    if current.mode is Mode.ACTIVE:
        return None
    for record in reversed(promotions.promotions(session, current.cascade)):
        if record.outcome in (Outcome.STOPPED, Outcome.OBSERVED) or _is_old_stop(record):
            return record
        if record.outcome.moves:
            return None
    return None


def _beneath(stack: list[str], bundle: str, left: str | None) -> list[str]:
    """The part of the stack under the last place of `bundle`, without it and without the one that
    was left.
    """
    if bundle in stack:
        stack = stack[: len(stack) - 1 - stack[::-1].index(bundle)]
    return [one for one in stack if one not in (bundle, left)]


def _is_old_stop(record: PromotionRecord) -> bool:
    """A stop by a risk alarm, as it was recorded before stops had an outcome of their own."""
    rolled_back = record.outcome is Outcome.ROLLED_BACK and record.bundle is None
    return rolled_back and record.reason.startswith(STOPPED_BY_ALARM)
