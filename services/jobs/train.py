"""`train`: starts the trainer as a process of its own and waits for it, for as long as a job may
take.

A training window of decision time ends a label horizon before the job's window does, so that every
row in it is mature; it is read as of the job's window end, so that a late or repeated run sees the
same labels. The trainer publishes and ends the claim in one transaction; this side only starts it,
passes on what it says and lets it be repeated when it died.

The trainer knows the limit too and ends itself, with the place where it stood in its last words:
its scheduler may be gone by then. A little later it is ended from here.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from knowgate import Window
from knowgate._wire import codec
from services.jobs.job import JobContext
from services.jobs.timetable import every_cascade, standing
from services.jobs.trainer import run_trainer
from services.windows import last_due_window
from store.engine import reading
from store.jobs.job_runs import Claim
from store.jobs.trainer_reports import TrainingOutcome, TrainingStatus
from store.releases import cascades

GRACE = timedelta(seconds=10)  # for a trainer that ends itself at its limit


class TrainJob:
    """Only the latest window counts: it reads all the history that the missed ones would have."""

    name = "train"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return every_cascade(context)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        state = standing(context, self.name, cascade)
        if state is None:
            return ()
        spec, done_until = state
        window = last_due_window(every=spec.schedule.train_every, done_until=done_until, now=context.clock.now())
        return () if window is None else (window,)

    def run(self, context: JobContext, claim: Claim) -> str:
        limit = context.settings.job_limit + GRACE
        arguments = _arguments(context, claim)
        return in_words(run_trainer(context, "run", arguments, limit=limit, reports=TrainingOutcome))


def in_words(outcome: TrainingOutcome) -> str:
    """The trainer's outcome in a line; all of it is in the bundle and its certificate."""
    certificate = outcome.certificate
    if outcome.bundle is None or certificate is None:
        words = f"{outcome.status}, {outcome.rows.get('window', 0)} mature decisions"
        if outcome.status is TrainingStatus.NOT_ATTEMPTED:
            words += f": it waits for about {outcome.labels_needed} more labelled ones, and what is in force stays so"
    elif outcome.status is TrainingStatus.CERTIFIED:
        words = (
            f"{outcome.status}, bundle {outcome.bundle[:12]}: retains {certificate.retained_share:.1%}, "
            f"drop at most {certificate.drop_upper_bound:.4f}, n {certificate.n}"
        )
    else:
        words = f"{outcome.status}, attempt {certificate.attempt}, n {certificate.n}"
        if outcome.labels_needed is not None:
            words += f", about {outcome.labels_needed} more labelled decisions would settle it"
    for gain in () if certificate is None else certificate.gains:
        words += (
            f"; tier {gain.tier} {gain.signal} over P(T): AUROC {gain.auroc:+.3f} "
            f"[{gain.auroc_low:+.3f}, {gain.auroc_high:+.3f}], accuracy of {gain.at_share:.0%} retained "
            f"{gain.accuracy:+.3f} [{gain.accuracy_low:+.3f}, {gain.accuracy_high:+.3f}]"
        )
    other = outcome.rows.get("p_t_of_another_kind", 0)
    return words + (f"; {other} decisions left out, their P(T) is of another kind" if other else "")


def training_window(context: JobContext, cascade: str, job_window: Window) -> Window:
    """The decision time whose labels are all in by the end of `job_window`."""
    with reading(context.engine) as session:
        spec = cascades.cascade(session, cascade)
    end = job_window.end - spec.horizon
    return Window(start=end - spec.schedule.training_window, end=end)


def _arguments(context: JobContext, claim: Claim) -> list[str]:
    window = training_window(context, claim.cascade, claim.window)
    return [
        f"--cascade={claim.cascade}",
        f"--start={window.start.isoformat()}",
        f"--end={window.end.isoformat()}",
        f"--as-of={claim.window.end.isoformat()}",
        f"--now={context.clock.now().isoformat()}",
        f"--claim={codec.canonical(claim).decode()}",
        f"--lease={context.settings.job_lease.total_seconds()}",
        f"--limit={context.settings.job_limit.total_seconds()}",
    ]
