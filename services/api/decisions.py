"""`POST /v1/decisions`: a batch of decisions, with or without their hidden states.

Acknowledged means committed: the answer is made after the transaction has ended. The vectors of the
rows that are new are written as shards inside that transaction and before its commit, so a row of
the database never points at a file that is not there. A commit that fails leaves a file that
nothing points at; it is named by its content, so the retry finds it again. A decision that was
there already gets no vector a second time.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session

from knowgate._records.records import Attempt, Decision
from knowgate._shipping.client import JSON_MEDIA_TYPE, VECTORS_MEDIA_TYPE
from knowgate.spec import Privacy
from services.api.arrow_body import ARROW_MEDIA_TYPE, parse_arrow_body
from services.api.openapi import body_of
from services.api.rows import Parsed, parse_decisions
from services.api.vectors_body import NO_VECTORS, Float16Array, Vectors, parse_vectors_body
from services.api.wire import DecisionsReceipt
from services.http.access import InAccess
from services.http.auth import require
from services.http.bodies import Body, media_type, parse_json, rows_of
from services.http.context import Context, InContext
from services.http.errors import ApiError
from services.privacy import kept
from services.vectors.intake import NewVector, store_vectors
from store.engine import transaction
from store.errors import CascadeUnknown
from store.releases import cascades
from store.tokens import TokenRole
from store.traffic.decisions import add_decisions
from store.traffic.vectors import hold_files

router = APIRouter(tags=["decisions"])
log = logging.getLogger("knowgate.api")


@router.post(
    "/v1/decisions",
    summary="Store a batch of decisions",
    dependencies=[Depends(require(TokenRole.INGEST, TokenRole.RUNTIME))],
    openapi_extra=body_of("DecisionBatch", vectors=True),
)
def post_decisions(request: Request, body: Body, context: InContext, access: InAccess) -> DecisionsReceipt:
    """Stores each decision once, however often it is sent; answers when all is committed.

    A row that cannot be stored is listed under `rejected` with its place in the batch, its field,
    the value and the cure; the others are stored. Attempts of a model that the cascade does not
    declare are stored and counted under `undeclared`: nothing is learned or certified from them.
    Send JSON, an Arrow stream with the same fields, or one safetensors file that carries the hidden
    states beside either; a hidden state with NaN or infinity is left out and counted under
    `vectors_dropped`, its decision is stored. A batch with a row of a cascade that the token does
    not reach is refused whole.
    """
    now = context.now()
    if media_type(request) == VECTORS_MEDIA_TYPE:
        rows, vectors = parse_vectors_body(body, context.settings.max_body_bytes)
    elif media_type(request) == ARROW_MEDIA_TYPE:
        rows, vectors = parse_arrow_body(body, context.settings.max_body_bytes), NO_VECTORS
    elif media_type(request) == JSON_MEDIA_TYPE:
        rows, vectors = rows_of(parse_json(body), "decisions"), NO_VECTORS
    else:
        cure = f"send {JSON_MEDIA_TYPE}, {ARROW_MEDIA_TYPE} or {VECTORS_MEDIA_TYPE}"
        raise ApiError(415, field="content-type", value=media_type(request), cure=cure)
    parsed = parse_decisions(rows, now, vectors.check)
    access.require(*{decision.cascade for decision in parsed.records})
    receipt = store_batch(context, parsed, vectors, now)
    context.metrics.count_batch("decisions", receipt.stored, receipt.duplicates, len(receipt.rejected))
    if receipt.vectors_dropped:
        log.warning("%d hidden states hold NaN or infinity and are left out: see the engine", receipt.vectors_dropped)
    for one in receipt.undeclared:
        context.metrics.count_undeclared(one.cascade, one.tier, one.attempts)
        log.warning("%s", one)
    return receipt


def store_batch(context: Context, parsed: Parsed[Decision], vectors: Vectors, now: datetime) -> DecisionsReceipt:
    """Commits the batch in one transaction."""
    with transaction(context.engine) as session:
        if vectors.tensors:
            hold_files(session)
        decisions = _private(session, parsed.records, context)
        added = add_decisions(session, decisions, received_at=now)
        new, dropped = _new_vectors(decisions, set(added.stored), vectors)
        settings = context.settings
        store_vectors(session, new, settings.shards_url, now=now, shard_bytes=settings.shard_bytes)
    for one in added.ambiguous:
        log.warning("%s", one)
    return DecisionsReceipt(
        stored=len(added.stored),
        duplicates=added.duplicates,
        rejected=parsed.all_rejected(added.rejected),
        adopted=added.adopted,
        undeclared=added.undeclared,
        vectors_dropped=dropped,
    )


def _private(session: Session, decisions: Sequence[Decision], context: Context) -> list[Decision]:
    rules: dict[str, Privacy] = {}
    for name in {decision.cascade for decision in decisions}:
        try:
            rules[name] = cascades.cascade(session, name).privacy
        except CascadeUnknown:
            rules[name] = Privacy.NEVER  # the store rejects the row
    return [kept(decision, rules[decision.cascade], context.key) for decision in decisions]


def _new_vectors(decisions: Sequence[Decision], stored: set[UUID], vectors: Vectors) -> tuple[list[NewVector], int]:
    """The vectors of the decisions that are new, and how many more were sent that are
    not finite.
    """
    new, dropped = [], 0
    for decision in decisions:
        if decision.id not in stored:
            continue
        stored.discard(decision.id)  # an id that came twice in the batch was stored as it came first
        for attempt in decision.attempts:
            values = vectors.row(attempt)
            if values is not None:
                new.append(_new_vector(decision, attempt, values))
            elif attempt.vector is not None:
                dropped += 1
    return new, dropped


def _new_vector(decision: Decision, attempt: Attempt, values: Float16Array) -> NewVector:
    return NewVector(
        cascade=decision.cascade,
        decision_id=decision.id,
        tier=attempt.tier,
        fingerprint=attempt.fingerprint,
        values=values,
    )
