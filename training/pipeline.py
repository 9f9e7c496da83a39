"""One window, from labelled decisions to a published bundle.

Decisions:
- Only mature decisions count: those for which every label that is waited for has had its horizon by
  `as_of`.
- A cascade some of whose non-last tiers have no models of their own is certified with p_t: a rule
  needs its signals at every tier, and p_t needs none.
- Under a rolling promise every attempt has the whole δ on rows of its own window, unless somebody
  asked for it (`training.levels`). Under that of a season all attempts of it have the whole δ
  together: they add to the same counters (`training.season_attempt`).
- P(T) is of one kind per tier, the cascade's: the bundle names it, and a runtime that is sent
  another escalates.
- Which rows certify is decided by time, by prompt and by how many count, before anything is learned
  (`training.certification.window`).
- Probes start from nothing unless `warm_start` is set. A former probe may have learned from prompts
  that certify now; linear probes end at the same optimum within their tolerance wherever they
  start, and that much is what it may tell.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from sqlalchemy import Engine

from knowgate._records.records import Window
from knowgate.spec import CascadeSpec, PromiseKind
from store.jobs.job_runs import Claim
from store.jobs.occasions import TrainingReason
from store.jobs.trainer_reports import TrainingOutcome
from training.certification.certify import certify_kind, outlook_on
from training.extraction import Answerer
from training.heartbeat import kept_alive
from training.levels import level_of
from training.probes.fit import FitProbe, fit_probe
from training.publishing.attempt import Attempt, NothingToTest, NotWorthIt, end_unattempted, publish_attempt
from training.rows.own_states import scratch_folder
from training.season_attempt import attempt_of_season
from training.window_run import TrainingSettings, WindowRun, compared, learn, read_rows, read_state


def _now() -> datetime:
    return datetime.now(UTC)


def train_window(
    engine: Engine,
    cascade: str,
    window: Window,
    *,
    as_of: datetime,
    claim: Claim | None = None,
    settings: TrainingSettings | None = None,
    answerers: Mapping[int, Answerer] | None = None,
    clock: Callable[[], datetime] = _now,
    fit: FitProbe = fit_probe,
) -> TrainingOutcome:
    """Train, certify and publish one window of decision time, with the labels known at `as_of`.

    `claim` is ended in the publishing transaction; `answerers` are models, by tier, that are asked
    again for the states of all their layers, or encoders that read in their stead; both need
    prompts stored in full. `fit` is what fits the probes, here or on a cluster. Raises
    store.errors.ClaimLost where another trainer has taken the window over, CascadeUnknown for a
    cascade that was not applied.
    """
    settings = settings or TrainingSettings()
    with kept_alive(engine, claim, lease=settings.lease, clock=clock), scratch_folder() as folder:
        state = read_state(engine, cascade)
        mature = _mature(window, as_of, state.spec)
        made: Attempt | NothingToTest | NotWorthIt = NothingToTest()
        if mature is not None:
            run = WindowRun(
                engine=engine,
                state=state,
                window=mature,
                as_of=as_of,
                settings=settings,
                answerers=answerers or {},
                folder=folder,
                fit=fit,
                occasion=None if claim is None else claim.occasion,
            )
            seasonal = state.spec.targets.promise is PromiseKind.SEASON
            made = attempt_of_season(run) if seasonal else _attempt_of_period(run)
        if isinstance(made, Attempt):
            return publish_attempt(engine, made, settings.fit, claim=claim, now=clock())
        return end_unattempted(engine, made, cascade, claim=claim, now=clock())


def _attempt_of_period(run: WindowRun) -> Attempt | NothingToTest | NotWorthIt:
    read = read_rows(run, run.window)
    if read.rows.n == 0:
        return NothingToTest(rows=read.rows)
    learned, targets = learn(run, read), run.targets
    delta = level_of(run.spec, run.occasion, run.state.asked, run.as_of)
    if _looks_ahead(run):
        outlook = outlook_on(read.rows, learned.split, learned.signals, targets, kind=learned.kind, delta=delta)
        if not outlook.made:
            return NotWorthIt(rows=read.rows, labels_needed=outlook.labels_needed)
    certified = certify_kind(read.rows, learned.split, learned.signals, targets, kind=learned.kind, delta=delta)
    if certified is None:
        return NothingToTest(rows=read.rows)
    return Attempt(
        spec=run.spec,
        number=run.state.attempt,
        as_of=run.as_of,
        read=read.window,
        rows=read.rows,
        split=learned.split,
        signals=learned.signals,
        models=tuple(None if one is None else one.models for one in learned.tiers),
        learned=learned.tiers,
        certified=certified,
        champion=run.state.champion,
        comparison=compared(run, read, certified),
        delta=delta,
    )


def _looks_ahead(run: WindowRun) -> bool:
    """Whether an attempt that could hardly certify anything is not made: where a certificate goes
    on deciding meanwhile, and where somebody asked who does not insist.
    """
    if run.occasion is not None and run.occasion.reason.of_a_person:
        return run.occasion.reason is TrainingReason.ASKED
    return run.state.decides


def _mature(window: Window, as_of: datetime, spec: CascadeSpec) -> Window | None:
    """The part of the window whose labels have all had their horizon; None where there is none."""
    end = min(window.end, as_of - spec.horizon)
    return None if end <= window.start else Window(start=window.start, end=end)
