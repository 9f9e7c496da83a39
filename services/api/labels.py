"""`POST /v1/labels`: statements about answers, as they become known.

A label names its decision by id or by the user's own external id; without a tier it speaks of the
served answer. One that comes before its decision waits for it.
"""

import logging
from dataclasses import replace

from fastapi import APIRouter, Depends

from services.api.openapi import body_of
from services.api.rows import parse_labels
from services.http.access import InAccess
from services.http.auth import require
from services.http.bodies import Body, parse_json, require_json, rows_of
from services.http.context import InContext
from store.engine import transaction
from store.tokens import TokenRole
from store.traffic.labels import LabelsAdded, add_labels

log = logging.getLogger("knowgate.api")
router = APIRouter(tags=["labels"])


@router.post(
    "/v1/labels",
    summary="Store a batch of labels",
    dependencies=[Depends(require(TokenRole.INGEST)), Depends(require_json)],
    openapi_extra=body_of("LabelBatch"),
)
def post_labels(body: Body, context: InContext, access: InAccess) -> LabelsAdded:
    """Stores each label once; answers when all is committed.

    Labels are append-only: within a source the newest statement (by `labelled_at`) is in force,
    between sources gold comes before human, judge and feedback. Two of one source, answer and time
    that differ are refused. A row that cannot be stored is listed under `rejected`; the others are
    stored, but a batch with a row of a cascade that the token does not reach is refused whole. An
    external id that several decisions share is listed under `ambiguous`, with the
    decision that the label was taken for.
    """
    now = context.now()
    parsed = parse_labels(rows_of(parse_json(body), "labels"), now)
    access.require(*{label.cascade for label in parsed.records})
    with transaction(context.engine) as session:
        added = add_labels(session, parsed.records, received_at=now)
    rejected = parsed.all_rejected(added.rejected)
    context.metrics.count_batch("labels", added.stored + added.waiting, added.duplicates, len(rejected))
    for one in added.ambiguous:
        log.warning("%s", one)
    return replace(added, rejected=rejected)
