"""`respond`: answers every ring of the risk alarm. A fault may cost money, never accuracy: the
cascade is stopped; then what it may fall back to is looked at, where that is asked for.
"""

import logging

from services.errors import Refused
from services.jobs.fall_back import fall_back
from services.jobs.job import JobContext
from services.promotion import ring_answers
from store.engine import reading, transaction
from store.errors import GenerationMoved, RecordUnreadable
from store.releases import rings

log = logging.getLogger("knowgate.jobs")


class RespondSweep:
    """Stops whatever decides for a cascade whose risk alarm rang, where the cascade says so."""

    name = "respond"

    def run(self, context: JobContext) -> int:
        with reading(context.engine) as session:
            names = sorted({ring.cascade for ring in rings.unanswered(session, rings.RISK)})
        return sum(_answer(context, name) + fall_back(context, name) for name in names)


def answer_waiting(context: JobContext, cascade: str) -> int:
    """Answer the rings of one cascade that wait, and fall back where that is asked for; how many
    rings stopped it.
    """
    with reading(context.engine) as session:
        waits = bool(rings.unanswered(session, rings.RISK, cascade))
    stopped = _answer(context, cascade) if waits else 0
    fall_back(context, cascade)  # also after a ring that a person's move has answered
    return stopped


def _answer(context: JobContext, cascade: str) -> int:
    try:
        with transaction(context.engine) as session:
            return ring_answers.answer_rings(session, cascade, context.settings, now=context.clock.now())
    except (GenerationMoved, Refused) as moved:
        log.info("%s moved while its risk alarm was answered (%s): it is answered at the next tick", cascade, moved)
        return 0
    except RecordUnreadable as error:
        log.error("the risk alarm of %s rang and cannot be answered: %s", cascade, error)
        return 0
