"""`train`: starts the trainer as a process of its own and waits for it, for as long as a job may
take.

A training window of decision time ends a label horizon before the job's window does, so that every
row in it is mature; it is read as of the job's window end, so that a late or repeated run sees the
same labels. The trainer publishes and ends the claim in one transaction; this side only starts it,
passes on what it says and lets it be repeated when it died.

The trainer knows the limit too and ends itself, with the place where it stood in its last words:
its scheduler may be gone by then. A little later it is ended from here.
"""

import json
import logging
import signal
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from knowgate import Window
from services.errors import ServicesError
from services.jobs.child import Ended, run_child
from services.jobs.job import JobContext
from services.jobs.timetable import every_cascade, standing
from services.settings import child_environment
from services.windows import last_due_window
from store.engine import reading
from store.jobs.job_runs import Claim
from store.releases import cascades

log = logging.getLogger("knowgate.jobs")

TOLD_AT_MOST = 2000  # characters of what a process said that are kept
GRACE = timedelta(seconds=10)  # for a trainer that ends itself at its limit


class TrainingDied(ServicesError):
    """The trainer ended without an outcome; its last words are in the message."""


class TrainJob:
    """Only the latest window counts: it reads all the history that the missed ones would have."""

    name = "train"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return every_cascade(context)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        found = standing(context, self.name, cascade)
        if found is None:
            return ()
        spec, done_until = found
        window = last_due_window(every=spec.schedule.train_every, done_until=done_until, now=context.clock.now())
        return () if window is None else (window,)

    def run(self, context: JobContext, claim: Claim) -> str:
        command = [sys.executable, "-m", "training", "run", *trainer_arguments(context, claim)]
        limit = context.settings.job_limit + GRACE
        done = run_child(context, command, environment=trainer_environment(context), limit=limit)
        if done.status != 0:
            raise TrainingDied(f"the trainer {how_it_ended(done)}")
        return _told(json.loads(done.output.strip().splitlines()[-1]))


def how_it_ended(done: Ended) -> str:
    """Its status, or the signal that killed it, and what it said last."""
    if done.status >= 0:
        ended = f"ended with {done.status}"
    elif done.status == -signal.SIGKILL:
        ended = "was killed (SIGKILL), as the system does when memory runs out"
    else:
        ended = f"was ended by {signal.strsignal(-done.status) or 'a signal'} (signal {-done.status})"
    said = last_words(done.errors)
    return f"{ended}: {said}" if said else f"{ended}, and said nothing"


def last_words(errors: str) -> str:
    """The end of what a process wrote; of one that came to its time limit, where it stood, which it
    says first.
    """
    text = errors.strip()
    stood = text.rfind("Timeout (")
    return text[-TOLD_AT_MOST:] if stood < 0 else text[stood : stood + TOLD_AT_MOST]


def _told(outcome: dict[str, Any]) -> str:
    """The trainer's outcome in a few words; all of it is in the bundle and its certificate."""
    status, bundle, certificate = outcome["status"], outcome.get("bundle"), outcome.get("certificate")
    if bundle is None or certificate is None:
        return f"{status}, {outcome['rows'].get('window', 0)} mature decisions{_left_out(outcome)}"
    if status == "certified":
        share, drop = certificate["retained_share"], certificate["drop_upper_bound"]
        told = f"{status}, bundle {bundle[:12]}: retains {share:.1%}, drop at most {drop:.4f}, n {certificate['n']}"
        return told + _gains(outcome) + _left_out(outcome)
    needed = outcome.get("labels_needed")
    more = "" if needed is None else f", about {needed} more labelled decisions would settle it"
    return (
        f"{status}, attempt {certificate['attempt']}, n {certificate['n']}{more}{_gains(outcome)}{_left_out(outcome)}"
    )


def _gains(outcome: dict[str, Any]) -> str:
    """What each learned signal adds to P(T) alone."""
    return "".join(
        f"; tier {gain['tier']} {gain['signal']} over P(T): AUROC {gain['auroc']:+.3f} "
        f"[{gain['auroc_low']:+.3f}, {gain['auroc_high']:+.3f}], accuracy of {gain['at_share']:.0%} retained "
        f"{gain['accuracy']:+.3f} [{gain['accuracy_low']:+.3f}, {gain['accuracy_high']:+.3f}]"
        for gain in outcome["certificate"].get("gains", ())
    )


def _left_out(outcome: dict[str, Any]) -> str:
    other = outcome["rows"].get("p_t_of_another_kind", 0)
    return f"; {other} decisions left out, their P(T) is of another kind" if other else ""


def training_window(context: JobContext, cascade: str, job_window: Window) -> Window:
    """The decision time whose labels are all in by the end of `job_window`."""
    with reading(context.engine) as session:
        spec = cascades.cascade(session, cascade)
    end = job_window.end - spec.horizon
    return Window(start=end - spec.schedule.training_window, end=end)


def trainer_arguments(context: JobContext, claim: Claim) -> list[str]:
    window = training_window(context, claim.cascade, claim.window)
    return [
        f"--cascade={claim.cascade}",
        f"--start={window.start.isoformat()}",
        f"--end={window.end.isoformat()}",
        f"--as-of={claim.window.end.isoformat()}",
        f"--now={context.clock.now().isoformat()}",
        f"--claim={claim.id}",
        f"--owner={claim.owner}",
        f"--token={claim.token}",
        f"--lease={context.settings.job_lease.total_seconds()}",
        f"--limit={context.settings.job_limit.total_seconds()}",
    ]


def trainer_environment(context: JobContext) -> dict[str, str]:
    """Addresses travel in the environment: they may carry passwords, and arguments show in process
    lists.
    """
    settings = context.settings
    return child_environment(
        {
            "KNOWGATE_DATABASE_URL": settings.database_url,
            "KNOWGATE_SHARDS_URL": settings.shards_url,
            "KNOWGATE_MLFLOW_URL": settings.mlflow_url,
            "KNOWGATE_TRAINING_ENGINE": settings.training_engine,
            "KNOWGATE_RAY_ADDRESS": settings.ray_address,
            "KNOWGATE_RAY_WORKERS": str(settings.ray_workers),
            "KNOWGATE_RAY_CPUS_PER_WORKER": str(settings.ray_cpus_per_worker),
            "KNOWGATE_RAY_GPUS_PER_WORKER": str(settings.ray_gpus_per_worker),
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
    )
