"""Which tiers' P(T) says nothing, though surely: what `knowgate doctor` reads of the labels.

A mature day of traffic is looked at first, or the end of one that is busy. Where that shows
nothing, all that the last four weeks hold is, unless that would be a long read for a check-up.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy.orm import Session

from knowgate import CascadeSpec, Window
from knowgate._records.records import PTKind
from knowgate.policy import PolicyKind
from services.sure_tokens import too_sure
from store.traffic.decisions import count_between, last_time
from store.traffic.examples import labelled

DAY, WEEKS = timedelta(days=1), timedelta(weeks=4)
MOST_DECISIONS = 50_000  # that one look may read


def sure_tiers(session: Session, spec: CascadeSpec, *, now: datetime) -> tuple[str, ...]:
    """What is wrong with the first token's P(T) of each tier of which it is declared, where its
    labels show it; a rule that does not look at P(T) has nothing to lose.
    """
    tiers = [at for at, tier in enumerate(spec.tiers[:-1]) if tier.p_t_kind is PTKind.FIRST_TOKEN]
    if not tiers or spec.targets.rule is PolicyKind.P_IK:
        return ()
    for window in _looks(session, spec, now):
        found = _found(session, spec, tiers, window, now)
        if found:
            return found
    return ()


def _looks(session: Session, spec: CascadeSpec, now: datetime) -> Iterator[Window]:
    newest = last_time(session, spec.name)
    if newest is None:
        return
    end = min(newest, now) + timedelta(milliseconds=1)  # ids differ by it
    day = Window(start=end - spec.horizon - DAY, end=end - spec.horizon)
    many = count_between(session, spec.name, day)
    yield day if many <= MOST_DECISIONS else Window(start=day.end - DAY * MOST_DECISIONS / many, end=day.end)
    whole = Window(start=end - WEEKS, end=end)
    if count_between(session, spec.name, whole) <= MOST_DECISIONS:
        yield whole


def _found(session: Session, spec: CascadeSpec, tiers: list[int], window: Window, now: datetime) -> tuple[str, ...]:
    said_of = ("p_t", "p_t_kind", "correct")
    rows = labelled(session, spec.name, window, as_of=now, columns=said_of, trusted=spec.targets.trusted)
    kind = PTKind.FIRST_TOKEN.value
    said = []
    for tier in tiers:
        here = np.asarray((rows.tier == tier) & (rows.p_t_kind == kind), dtype=np.bool_)
        said.append(too_sure(spec.tiers[tier].name, kind, rows.p_t[here], rows.correct[here]))
    return tuple(one for one in said if one is not None)
