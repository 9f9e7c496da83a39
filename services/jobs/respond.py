"""`respond`: what an open risk alarm does. A fault may cost money, never accuracy: the cascade stops retaining."""

from sqlalchemy.orm import Session

from knowgate.assignment import Mode
from knowgate.errors import RecordInvalid
from knowgate.spec import OnRisk
from services import rollout
from services.jobs.job import JobContext
from services.rollout import Why
from store import alerts, assignments, cascades
from store.engine import transaction


class RespondSweep:
    """Stops a champion whose risk alarm is open, where the cascade says so."""

    name = "respond"

    def run(self, context: JobContext) -> int:
        with transaction(context.engine) as session:
            stopped = 0
            for alert in alerts.alerts(session, open_only=True):
                held = assignments.assignment(session, alert.cascade)
                if alert.rule != "risk" or not _stops(session, alert.cascade):
                    continue
                if held is None or held.champion is None or held.mode is Mode.ESCALATE_ALL:
                    continue
                since = rollout.champion_since(session, held)
                if since is not None and since >= alert.opened_at:
                    continue  # the alarm speaks of a champion that no longer decides
                why = Why(reason=f"risk alarm: {alert.cause}")
                rollout.stop(session, held, context.settings, why, now=context.clock.now())
                stopped += 1
            return stopped


def _stops(session: Session, cascade: str) -> bool:
    """Whether the cascade asks to be stopped; one whose declaration cannot be read is, and keeps no other from it."""
    try:
        return cascades.cascade(session, cascade).alarms.on_risk is OnRisk.ESCALATE_ALL
    except RecordInvalid:
        return True
