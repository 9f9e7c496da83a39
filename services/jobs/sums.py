"""What pages of a long time read in place of its rows, kept up to date: figures summed by day, and
labelled decisions counted by hour.

Each day is a transaction of its own behind the caller's guard. A run that was cut off leaves the
rest for the next one; pages read the rows meanwhile.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from knowgate.spec import CascadeSpec
from services.jobs.job import JobContext
from services.next_attempt import counted_window, question_of
from store.engine import reading, transaction
from store.errors import StoreError
from store.labelling.known import count_missing, recount
from store.releases import cascades
from store.watching.figure_sums import sum_day, unsummed_days

Guard = Callable[[Session], None]


def sum_figures(context: JobContext, guard: Guard) -> int:
    """Sum the days that have ended since, or changed; how many."""
    now = context.clock.now()
    with reading(context.engine) as session:
        names = cascades.cascade_names(session)
        due = [(name, day) for name in names for day in unsummed_days(session, name, now=now)]
    for name, day in due:
        with transaction(context.engine) as session:
            guard(session)
            sum_day(session, name, day, now=now)
    return len(due)


def count_labels(context: JobContext, guard: Guard) -> None:
    """Count the labelled decisions of all cascades that can be read."""
    with reading(context.engine) as session:
        specs = [spec for name in cascades.cascade_names(session) if (spec := _readable(session, name)) is not None]
    for spec in specs:
        _count_labels_of(context, spec, guard)


def _count_labels_of(context: JobContext, spec: CascadeSpec, guard: Guard) -> None:
    now, question = context.clock.now(), question_of(spec)
    with reading(context.engine) as session:
        window = counted_window(session, spec, now=now)
    if window is None:
        return
    with transaction(context.engine) as session:
        guard(session)
        recount(session, question, window, now=now)
    while True:
        with transaction(context.engine) as session:
            guard(session)
            if not count_missing(session, question, window, now=now):
                return


def _readable(session: Session, name: str) -> CascadeSpec | None:
    try:
        return cascades.cascade(session, name)
    except (StoreError, ValueError):
        return None  # its own page says why
