"""`promote`: judges every certified bundle that nobody has judged, and puts the one that passes in force."""

import logging
from dataclasses import replace

from sqlalchemy.orm import Session

from knowgate.bundle import read_document
from knowgate.errors import RecordInvalid
from services import rollout
from services.errors import Refused
from services.jobs.job import JobContext
from services.promotion import PromotionCheck, check_promotion
from services.rollout import Why
from store import assignments, bundles, cascades
from store.bundles import BundleRecord, BundleStatus
from store.engine import reading, transaction
from store.errors import BundleDamaged

log = logging.getLogger("knowgate.jobs")


class PromoteSweep:
    """Judged and swapped in one transaction: a check and what follows from it are never apart."""

    name = "promote"

    def run(self, context: JobContext) -> int:
        with reading(context.engine) as session:
            names = cascades.cascade_names(session)
        return sum(_judge_or_leave(context, name) for name in names)


def _judge_or_leave(context: JobContext, cascade: str) -> int:
    """A cascade that cannot be read waits for a good file, and no other waits for it."""
    try:
        return _judge_cascade(context, cascade)
    except RecordInvalid as error:
        log.error("no bundle of %s is judged: it cannot be read (%s): apply a good file again", cascade, error)
        return 0


def _judge_cascade(context: JobContext, cascade: str) -> int:
    with transaction(context.engine) as session:
        waiting = [record for record in bundles.bundles(session, cascade) if record.status is BundleStatus.CERTIFIED]
        if not waiting:
            return 0
        newest, *older = waiting
        for record in older:
            why = Why(reason=f"superseded by {newest.id[:12]}, which was trained later")
            rollout.refuse(session, assignments.assignment(session, cascade), record.id, why, now=context.clock.now())
        judge_bundle(session, context, newest)
        return len(waiting)


def judge_bundle(session: Session, context: JobContext, record: BundleRecord) -> PromotionCheck:
    """Check one bundle, and put it in force or state why not.

    Raises Refused for one that carries no certificate, or was judged before.
    """
    if record.status is not BundleStatus.CERTIFIED:
        raise Refused(f"bundle {record.id[:12]} is {record.status}: only a certified one that nobody judged is judged")
    now = context.clock.now()
    held = assignments.assignment(session, record.cascade)
    if held is None:
        held = rollout.declare(session, cascades.cascade(session, record.cascade), context.settings, now=now)
    check = check_promotion(read_document(record.document), held)
    try:
        bundles.bundle_content(session, record.id)
    except BundleDamaged as error:
        check = replace(check, passed=False, reason=str(error))
    why = Why(reason=check.reason, check=check)
    if check.passed:
        rollout.promote(session, held, record.id, context.settings, why, now=now)
    else:
        rollout.refuse(session, held, record.id, why, now=now)
    return check
