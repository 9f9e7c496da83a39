"""`respond`: what an open risk alarm does. A fault may cost money, never accuracy: the cascade stops retaining."""

from knowgate.assignment import Mode
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
                spec = cascades.cascade(session, alert.cascade)
                if alert.rule != "risk" or spec.alarms.on_risk is not OnRisk.ESCALATE_ALL:
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
