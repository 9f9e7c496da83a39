"""Which figures of a deployment Prometheus is given, and what the database says of each.

Series are bounded by what is declared: cascades, their tiers, rules, jobs and the names of figures.
Slices, prompts and addresses are never labels. Runtimes name themselves, so of those the ones heard
last are kept, `MOST_RUNTIMES` per cascade.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate.spec import CascadeSpec
from monitoring.names import FigureName, Rule
from services.next_attempt import next_attempt
from services.promotion.rollout_state import State, state_of
from store import backlogs
from store.errors import RecordUnreadable
from store.jobs import job_runs
from store.jobs.job_ticks import job_ticks
from store.releases import assignments, cascades, certifications
from store.releases.cascade_acts import freeze_in_force
from store.traffic import labels
from store.watching import alerts
from store.watching.figures import newest_figures

log = logging.getLogger("knowgate.api")

WINDOWED = ("monitor", "train")  # the jobs whose windows each cascade has
MOST_RUNTIMES = 100  # per cascade
SHOWN_FOR = timedelta(days=90)  # a figure that had no value for longer
# Those that somebody is woken for: their intervals are exposed too.
WITH_INTERVAL = frozenset(
    (
        FigureName.ACCURACY_CASCADE,
        FigureName.ACCURACY_RETAINED,
        FigureName.CBPE,
        FigureName.DROP,
        FigureName.OOD_ONLY_SHARE,
        FigureName.OVERCONFIDENCE,
        FigureName.RETAINED_SHARE,
        FigureName.SAVED_USD,
        FigureName.SAVINGS_GFLOPS,
        FigureName.SAVINGS_TOKENS,
        FigureName.SAVINGS_USD,
    )
)
OF_CASCADE = ("cascade",)
OF_FIGURE = ("cascade", "name", "mature")
OF_RUNTIME = ("cascade", "runtime")
OF_TOPIC = ("topic",)
OF_JOB = ("job_name",)  # `job` is what Prometheus calls whom it scrapes, and takes for itself
FROZEN = "frozen"  # beside what the cascade is in: no job puts anything in force
FAILURES = "knowgate_job_failures"
NAMES = tuple(name.value for name in FigureName)
# By name: what it says, and the labels of its samples.
GAUGES: Mapping[str, tuple[str, Sequence[str]]] = {
    "knowgate_mode": ("1 for what the cascade is in, else 0.", ("cascade", "mode")),
    "knowgate_challenger_share": ("Share of the queries that a challenger decides, where there is one.", OF_CASCADE),
    "knowgate_assignment_generation": ("Generation of the assignment in force.", OF_CASCADE),
    "knowgate_assignment_unreadable": ("1 where the stored assignment cannot be read.", OF_CASCADE),
    "knowgate_promise_allowed": ("Accuracy, as a share, that the promise allows to be lost.", ("cascade", "kind")),
    "knowgate_promise_delta": ("Chance with which the promise may fail.", OF_CASCADE),
    "knowgate_attempt_delta": ("What of that chance the newest attempt at a certificate had.", OF_CASCADE),
    "knowgate_next_attempt_timestamp_seconds": ("When the next attempt at a certificate is due.", OF_CASCADE),
    "knowgate_attempt_labels_known": ("Labelled decisions that the next attempt may rest on.", OF_CASCADE),
    "knowgate_attempt_labels_needed": ("With so many of them it is made before its turn.", OF_CASCADE),
    "knowgate_open_alerts": ("1 per alert that is open.", ("cascade", "rule", "severity")),
    "knowgate_waiting_labels": ("Labels without their decision.", OF_CASCADE),
    "knowgate_figure": ("Newest figure of a whole cascade; read its rows and its time beside it.", OF_FIGURE),
    "knowgate_figure_low": ("Lower end of its 95 % interval, where it has one.", OF_FIGURE),
    "knowgate_figure_high": ("Upper end of its 95 % interval, where it has one.", OF_FIGURE),
    "knowgate_figure_rows": ("Rows that the newest figure was computed from.", OF_FIGURE),
    "knowgate_figure_window_end_timestamp_seconds": (
        "End of the window of decision time it is a figure of.",
        OF_FIGURE,
    ),
    "knowgate_figure_computed_timestamp_seconds": ("When it was computed.", OF_FIGURE),
    "knowgate_runtime_last_seen_timestamp_seconds": ("When a runtime was last heard.", OF_RUNTIME),
    "knowgate_runtime_generation": ("Generation that a runtime serves.", OF_RUNTIME),
    "knowgate_runtime_generations_behind": ("How many generations that lies behind the one in force.", OF_RUNTIME),
    "knowgate_runtime_refused": ("1 where a runtime refused the generation it was given.", OF_RUNTIME),
    "knowgate_runtime_silent": ("1 where it was not heard for several times as long as it said.", OF_RUNTIME),
    "knowgate_runtime_unshipped_bytes": ("Bytes of its spool that the service does not have.", OF_RUNTIME),
    "knowgate_runtime_refused_rows": ("Rows that its spool or the service refused since it started.", OF_RUNTIME),
    "knowgate_job_last_tick_timestamp_seconds": ("When a scheduler last let the job look.", OF_JOB),
    "knowgate_job_last_success_timestamp_seconds": ("When that last went well.", OF_JOB),
    "knowgate_job_last_duration_seconds": ("How long its last tick took.", OF_JOB),
    "knowgate_job_done_until_timestamp_seconds": ("End of its last finished window.", ("cascade", "job_name")),
    "knowgate_outbox_waiting": ("Effects outside the database that wait to be carried out.", OF_TOPIC),
    "knowgate_outbox_oldest_timestamp_seconds": ("When the one that waits longest was written.", OF_TOPIC),
    "knowgate_outbox_given_up": ("Effects that were given up after all their tries.", OF_TOPIC),
    "knowgate_deliveries_waiting": ("Messages about alerts that wait to be received.", ()),
    "knowgate_deliveries_oldest_timestamp_seconds": ("When the one that waits longest was written.", ()),
    "knowgate_deliveries_given_up": ("Messages that were given up after all their tries.", ()),
    "knowgate_ledger_unsealed_leaves": ("Statements of the ledger that no batch commits to yet.", ()),
    "knowgate_ledger_oldest_unsealed_timestamp_seconds": ("When the first of them was written.", ()),
    "knowgate_ledger_last_sealed_timestamp_seconds": ("When the newest batch was sealed.", ()),
}
# Of which gauge, of which labels, and the value; None, as of a time that there is not yet, is no
# sample: 0 would be an age of decades.
Sample = tuple[str, Sequence[str], float | datetime | None]


def samples(session: Session, now: datetime) -> Iterator[Sample]:
    """All that takes little to be read."""
    yield from _service(session)
    for name in cascades.cascade_names(session):
        yield from _assignment(session, name, now)
        for alert in alerts.alerts(session, name, open_only=True):
            yield "knowgate_open_alerts", [name, alert.rule, Rule(alert.rule).severity.value], 1
        yield "knowgate_waiting_labels", [name], labels.waiting_count(session, name)
        yield from _figures(session, name, now)
        for job in WINDOWED:
            yield "knowgate_job_done_until_timestamp_seconds", [name, job], job_runs.watermark(session, job, name)


def attempt_samples(session: Session, now: datetime) -> Iterator[Sample]:
    """What is promised, and what the next certificate waits for: labels are counted for it."""
    for name in cascades.cascade_names(session):
        try:
            yield from _promise(cascades.cascade(session, name))
            coming = next_attempt(session, name, now=now)
        except RecordUnreadable as error:
            log.error("/metrics leaves out what %s promises: %s", name, error)
            continue
        spent = certifications.newest_certification(session, name)
        yield "knowgate_attempt_delta", [name], None if spent is None else spent.delta_spent
        if coming is not None:
            yield "knowgate_next_attempt_timestamp_seconds", [name], coming.at
            if coming.labels is not None:
                yield "knowgate_attempt_labels_known", [name], coming.labels.known
                yield "knowgate_attempt_labels_needed", [name], coming.labels.needed


def _service(session: Session) -> Iterator[Sample]:
    for tick in job_ticks(session):
        yield "knowgate_job_last_tick_timestamp_seconds", [tick.job], tick.ticked_at
        yield "knowgate_job_last_success_timestamp_seconds", [tick.job], tick.succeeded_at
        yield "knowgate_job_last_duration_seconds", [tick.job], tick.took_s
        yield FAILURES, [tick.job], tick.failures
    for topic, waiting in backlogs.outbox_backlogs(session).items():
        yield from _backlog("knowgate_outbox", [topic], waiting)
    yield from _backlog("knowgate_deliveries", [], backlogs.delivery_backlog(session))
    sealing = backlogs.sealing_backlog(session)
    yield "knowgate_ledger_unsealed_leaves", [], sealing.leaves
    yield "knowgate_ledger_oldest_unsealed_timestamp_seconds", [], sealing.oldest
    yield "knowgate_ledger_last_sealed_timestamp_seconds", [], sealing.sealed_at


def _backlog(name: str, key: Sequence[str], backlog: backlogs.Backlog) -> Iterator[Sample]:
    yield f"{name}_waiting", key, backlog.waiting
    yield f"{name}_oldest_timestamp_seconds", key, backlog.oldest
    yield f"{name}_given_up", key, backlog.given_up


def _promise(spec: CascadeSpec) -> Iterator[Sample]:
    yield "knowgate_promise_allowed", [spec.name, spec.targets.kind.value], spec.targets.allowed
    yield "knowgate_promise_delta", [spec.name], spec.targets.delta


def _assignment(session: Session, name: str, now: datetime) -> Iterator[Sample]:
    """What is in force, and whether it cannot be read: no other cascade's figures wait for that."""
    in_force, unread = None, False
    try:
        in_force = assignments.assignment(session, name)
    except RecordUnreadable as error:
        log.error("/metrics leaves out what is in force: %s", error)
        unread = True
    yield "knowgate_assignment_unreadable", [name], unread
    if in_force is not None:
        yield "knowgate_assignment_generation", [name], in_force.generation
        for state in State:
            yield "knowgate_mode", [name, state.value], state_of(in_force) is state
        yield "knowgate_mode", [name, FROZEN], freeze_in_force(session, name, now=now) is not None
        yield "knowgate_challenger_share", [name], None if in_force.challenger is None else in_force.share
    heard = [said for said in assignments.acknowledgements(session, name) if not said.gone(now)]
    for said in sorted(heard, key=lambda one: one.seen_at, reverse=True)[:MOST_RUNTIMES]:
        key = [name, said.runtime]
        yield "knowgate_runtime_last_seen_timestamp_seconds", key, said.seen_at
        yield "knowgate_runtime_generation", key, said.generation
        yield "knowgate_runtime_refused", key, not said.accepted
        yield "knowgate_runtime_silent", key, said.silent(now)
        yield "knowgate_runtime_unshipped_bytes", key, said.unshipped_bytes
        yield "knowgate_runtime_refused_rows", key, said.refused_rows
        if in_force is not None:
            yield "knowgate_runtime_generations_behind", key, in_force.generation - said.generation


def _figures(session: Session, name: str, now: datetime) -> Iterator[Sample]:
    for row in newest_figures(session, name, NAMES, since=now - SHOWN_FOR):
        key = [name, row.name, str(row.mature).lower()]
        yield "knowgate_figure", key, row.value
        if row.name in WITH_INTERVAL:
            yield "knowgate_figure_low", key, row.low
            yield "knowgate_figure_high", key, row.high
        yield "knowgate_figure_rows", key, row.n
        yield "knowgate_figure_window_end_timestamp_seconds", key, row.window.end
        yield "knowgate_figure_computed_timestamp_seconds", key, row.computed_at
