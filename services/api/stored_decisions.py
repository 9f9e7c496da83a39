"""`/v1/decisions/{decision_id}`: why a query went where it went, and its erasure."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from services.audit.explain import explain
from services.http.access import InAccess
from services.http.auth import require, who_asks
from services.http.conditional import conditional_json
from services.http.context import InContext
from services.upkeep.erasing import Erased, erase
from store.engine import reading
from store.errors import DecisionUnknown
from store.tokens import TokenRole
from store.traffic.decisions import stored_decision

router = APIRouter(tags=["decisions"])


@router.get(
    "/v1/decisions/{decision_id}",
    summary="Why a query went where it went",
    dependencies=[Depends(require(TokenRole.READ))],
    response_model=None,
)
def get_decision(request: Request, context: InContext, access: InAccess, decision_id: UUID) -> Response:
    """Signals, gates, bundle, certificate, labels, replay and ledger of one decision."""
    with reading(context.engine) as session:
        found = stored_decision(session, decision_id).decision
        access.require_sight(found.cascade, DecisionUnknown(decision_id))
        explanation = explain(session, found)
    return conditional_json(request, explanation)


@router.post(
    "/v1/decisions/{decision_id}/erase",
    summary="Erase the texts and hidden states of a decision",
    dependencies=[Depends(require(TokenRole.ADMIN))],
)
def post_erase(
    context: InContext, access: InAccess, decision_id: UUID, by: Annotated[str, Depends(who_asks)]
) -> Erased:
    """Signals, costs and correctness stay, and the ledger, which keeps the
    token's name, still verifies. It cannot be brought
    back, but from a backup. Where `log_emptied` is false, ask again: something of it is
    still in a file.
    """
    with reading(context.engine) as session:
        found = stored_decision(session, decision_id).decision
    access.require_sight(found.cascade, DecisionUnknown(decision_id))
    return erase(context.engine, context.settings, decision_id, by=by, now=context.now())
