"""Whether a scheduler looks after the deployment: what is shown where it cannot raise an alert
itself, since it is the one that is dead.

`/readyz` and every page say it. A service without a scheduler goes on taking decisions in and
handing out assignments, so it stays ready: to take it out of the way would cost what it still does.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from store.jobs import job_runs
from store.jobs.job_ticks import JOB_PATIENCE, job_ticks


class Pulse(StrEnum):
    """How the scheduler stands."""

    NONE_YET = "none_yet"  # no scheduler has ever run here
    REGULAR = "regular"
    BEHIND = "behind"  # it looks for work, and some job does not come to its end
    STILL = "still"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """How the scheduler stands, and since when, in a sentence."""

    pulse: Pulse
    sentence: str

    @property
    def wrong(self) -> bool:
        return self.pulse in (Pulse.BEHIND, Pulse.STILL)


def heartbeat(session: Session, *, now: datetime) -> Heartbeat:
    """How the scheduler stands at `now`, by the ticks that it has written down."""
    ticks = job_ticks(session)
    if not ticks:
        return Heartbeat(pulse=Pulse.NONE_YET, sentence="No scheduler has run yet.")
    busy = job_runs.at_work(session, now=now, within=JOB_PATIENCE)
    newest = max(tick.ticked_at for tick in ticks)
    if now - newest > JOB_PATIENCE and not busy:
        since = f"No scheduler has looked for work since {newest:%Y-%m-%d %H:%M} UTC"
        return Heartbeat(pulse=Pulse.STILL, sentence=f"{since}: nothing is watched, trained or sent.")
    late = [tick.lateness for tick in ticks if tick.behind(now) and tick.job not in busy]
    if late:
        return Heartbeat(pulse=Pulse.BEHIND, sentence=f"A job stands still: {'; '.join(late)}.")
    return Heartbeat(pulse=Pulse.REGULAR, sentence=f"The scheduler looked for work at {newest:%Y-%m-%d %H:%M} UTC.")
