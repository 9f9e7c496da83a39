"""What of δ an attempt has under a rolling promise: by who asked for it.

An attempt has the whole δ, also one that a need called for, since no label called
(docs/decisions/0141-when-to-train.md). A person may have looked: an attempt that somebody asks for
less than a period after another borrows its level from the next one that nobody asks for.
"""

from datetime import datetime

from evidence.bounds.spending import delta_asked, delta_of_turn
from knowgate.spec import CascadeSpec
from store.jobs.asked import AskedFor
from store.jobs.occasions import Occasion


def level_of(spec: CascadeSpec, occasion: Occasion | None, asked: AskedFor, as_of: datetime) -> float:
    """The level of an attempt that is made as of a time; a run by hand has no occasion and counts
    as a turn.
    """
    delta = spec.targets.delta
    levels = [share * delta for share in asked.shares]
    soon = asked.last_at is not None and as_of - asked.last_at < spec.schedule.train_every
    if soon and occasion is not None and occasion.reason.of_a_person:
        return delta_asked(delta, levels)
    return delta_of_turn(delta, levels)
