"""What keeps a job from putting anything in force: a person stopped the cascade or put it back to
be observed, a person froze it, or a person has the last word on every challenger, or on the first.

None of it keeps a person from anything, and none of it keeps a job from stopping what decides: a
stop costs money, never accuracy (docs/decisions/0180-what-a-freeze-holds.md).
"""

from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment, Mode
from knowgate.spec import Approval, SwitchOn
from services.promotion.champions import stop_in_force
from services.promotion.promotion import Ground, Hold
from store.releases import cascades
from store.releases.cascade_acts import freeze_in_force
from store.releases.promotions import Outcome


def hold_of(session: Session, current: Assignment, *, now: datetime) -> Hold | None:
    """Why no job lets anything decide `now`; None where one may."""
    stop = stop_in_force(session, current)
    if stop is not None and stop.decided_by is not None:
        done = "put the cascade back to be observed" if stop.outcome is Outcome.OBSERVED else "stopped the cascade"
        return Hold(ground=Ground.STOPPED_BY_PERSON, why=f"{stop.decided_by} {done} ({stop.reason})")
    freeze = freeze_in_force(session, current.cascade, now=now)
    if freeze is not None:
        why = f"{freeze.by} froze the cascade until {freeze.until:%Y-%m-%d %H:%M} UTC ({freeze.reason})"
        return Hold(ground=Ground.FROZEN, why=why)
    spec = cascades.cascade(session, current.cascade)
    if spec.promotion.approval is Approval.MANUAL:
        return Hold(ground=Ground.AWAITS_APPROVAL, why="promotion.approval is manual, and nobody has approved it")
    if current.mode is Mode.OBSERVE and stop is None and spec.observe.switch_on is SwitchOn.PERSON:
        why = "observe.switch_on is person, and nobody has switched it on"
        return Hold(ground=Ground.AWAITS_APPROVAL, why=why)
    return None
