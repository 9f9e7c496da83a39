"""`promote`: judges every certified bundle that nobody has judged, and puts the one that passes in force."""

from sqlalchemy.orm import Session

from knowgate import codec
from knowgate.bundle_documents import BundleDocument
from services import rollout
from services.jobs.job import JobContext
from services.promotion import check_promotion
from services.rollout import Why
from store import assignments, bundles, cascades
from store.bundles import BundleRecord, BundleStatus
from store.engine import reading, transaction


class PromoteSweep:
    """Judged and swapped in one transaction: a check and what follows from it are never apart."""

    name = "promote"

    def run(self, context: JobContext) -> int:
        with reading(context.engine) as session:
            names = cascades.cascade_names(session)
        return sum(_judge_cascade(context, name) for name in names)


def _judge_cascade(context: JobContext, cascade: str) -> int:
    with transaction(context.engine) as session:
        waiting = [record for record in bundles.bundles(session, cascade) if record.status is BundleStatus.CERTIFIED]
        if not waiting:
            return 0
        newest, *older = waiting
        for record in older:
            why = Why(reason=f"superseded by {newest.id[:12]}, which was trained later")
            rollout.refuse(session, assignments.assignment(session, cascade), record.id, why, now=context.clock.now())
        _judge(session, context, newest)
        return len(waiting)


def _judge(session: Session, context: JobContext, record: BundleRecord) -> None:
    now = context.clock.now()
    held = assignments.assignment(session, record.cascade)
    if held is None:
        held = rollout.declare(session, cascades.cascade(session, record.cascade), context.settings, now=now)
    check = check_promotion(codec.decode(BundleDocument, codec.parse(record.document)), held)
    why = Why(reason=check.reason, check=check)
    if check.passed:
        rollout.promote(session, held, record.id, context.settings, why, now=now)
    else:
        rollout.refuse(session, held, record.id, why, now=now)
