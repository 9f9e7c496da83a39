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
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate import Window
from knowgate._bundles.bundle_documents import SignalGain
from knowgate._wire import codec
from monitoring.words import percent, short, to_tenths
from services.asked_training import ask_training, asked_occasion
from services.errors import Refused
from services.jobs.job import Due, JobContext, JobOutcome, run_one
from services.jobs.timetable import every_cascade
from services.jobs.trainer import run_trainer
from services.next_attempt import JOB, due_attempt
from store.engine import reading, transaction
from store.jobs import job_runs
from store.jobs.job_runs import Claim
from store.jobs.occasions import Occasion
from store.jobs.trainer_reports import TrainingOutcome, TrainingStatus
from store.releases import cascades

COUNTED_A_PAUSE = 24  # times in a pause that a cascade's labels are counted
GRACE = timedelta(seconds=10)  # for a trainer that ends itself at its limit


class TrainJob:
    """One window at a time: that of the cascade's turn, or of a need between two turns
    (`services.next_attempt`), which ends when the need is seen, or one that a person asks for.
    """

    name = JOB

    def cascades(self, context: JobContext) -> Sequence[str]:
        return every_cascade(context)

    def due(self, context: JobContext, cascade: str) -> Iterable[Due]:
        now = context.clock.now()
        with reading(context.engine) as session:
            spec = cascades.cascade(session, cascade)
            counts = _counts(context, cascade, spec.schedule.pause / COUNTED_A_PAUSE)
            coming = due_attempt(session, cascade, now=now, count_labels=counts)
            begun = _begun(session, cascade, now)
            asked = asked_occasion(session, cascade)
        every = spec.schedule.train_every
        if begun is not None and (coming is None or coming.occasion.key is not None):
            return (begun,)
        if asked is not None:
            return (Due(window=Window(start=now - every, end=now), occasion=asked),)
        if coming is None:
            return ()
        end = coming.at if coming.occasion.key is None else now
        return (Due(window=Window(start=end - every, end=end), occasion=coming.occasion),)

    def run(self, context: JobContext, claim: Claim) -> str:
        limit = context.settings.job_limit + GRACE
        arguments = _arguments(context, claim)
        outcome = run_trainer(context, "run", arguments, limit=limit, reports=TrainingOutcome)
        return in_words(outcome, claim.occasion)


def _begun(session: Session, cascade: str, now: datetime) -> Due | None:
    """The training between two turns that was begun and came to no end, unless a later one did."""
    run = next(iter(job_runs.called_for(session, JOB, cascade)), None)
    done_until = job_runs.watermark(session, JOB, cascade, until=now)
    if run is None or (done_until is not None and run.window.end <= done_until):
        return None
    return Due(window=run.window, occasion=run.made_for)


def _counts(context: JobContext, cascade: str, every: timedelta) -> bool:
    """Whether it is time to count the cascade's labels again; from now on it was done."""
    now, counted = context.clock.now(), context.labels_counted.get(cascade)
    if counted is not None and counted <= now < counted + every:
        return False
    context.labels_counted[cascade] = now
    return True


def train_asked(
    context: JobContext, cascade: str, *, why: str, by: str, insist: bool, job: TrainJob | None = None
) -> JobOutcome:
    """A training that a person asks for, at once; `job` makes it. Raises as `ask_training`, and
    Refused where the scheduler began it in between.
    """
    now = context.clock.now()
    with transaction(context.engine) as session:
        occasion = ask_training(session, cascade, why=why, by=by, insist=insist, now=now)
        every = cascades.cascade(session, cascade).schedule.train_every
    due = Due(window=Window(start=now - every, end=now), occasion=occasion)
    outcome = run_one(context, job or TrainJob(), cascade, due)
    if outcome is None:
        raise Refused(f"a training of {cascade} was begun meanwhile: see `knowgate jobs`")
    return outcome


def in_words(outcome: TrainingOutcome, made_for: Occasion | None = None) -> str:
    """The trainer's outcome in a line; all of it is in the bundle and its certificate. What it was
    made for is said where that was not its turn.
    """
    certificate = outcome.certificate
    if outcome.bundle is None or certificate is None:
        words = f"{outcome.status}, {outcome.rows.get('window', 0)} mature decisions"
        if outcome.status is TrainingStatus.NOT_ATTEMPTED:
            words += f": it waits for about {outcome.labels_needed} more labelled ones, and what is in force stays so"
    elif outcome.status is TrainingStatus.CERTIFIED:
        assert certificate.retained_share is not None  # of one that is certified
        words = (
            f"{outcome.status}, bundle {short(outcome.bundle)}: retains {to_tenths(certificate.retained_share)}, "
            f"drop at most {certificate.drop_upper_bound:.4f}, n {certificate.n}"
        )
    else:
        words = f"{outcome.status}, attempt {certificate.attempt}, n {certificate.n}"
        if outcome.labels_needed is not None:
            words += f", about {outcome.labels_needed} more labelled decisions would settle it"
    words += "".join(f"; {gain_in_words(gain)}" for gain in (() if certificate is None else certificate.gains))
    other = outcome.rows.get("p_t_of_another_kind", 0)
    words += f"; {other} decisions left out, their P(T) is of another kind" if other else ""
    return words if made_for is None or made_for.key is None else f"{words}; it was made for {made_for}"


def gain_in_words(gain: SignalGain) -> str:
    """What a signal adds beyond P(T), and what of it is left where the slice is known."""
    words = (
        f"tier {gain.tier} {gain.signal} over P(T): AUROC {gain.auroc:+.3f} "
        f"[{gain.auroc_low:+.3f}, {gain.auroc_high:+.3f}], accuracy of {percent(gain.at_share, digits=0)} retained "
        f"{gain.accuracy:+.3f} [{gain.accuracy_low:+.3f}, {gain.accuracy_high:+.3f}]"
    )
    within = gain.within_slices
    if within is None:
        return words
    return words + (
        f", beyond the slice too (within {within.slices} slices) AUROC {within.auroc:+.3f} "
        f"[{within.auroc_low:+.3f}, {within.auroc_high:+.3f}]"
    )


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
