"""`/v1/decisions/{decision_id}/explanation` and `/v1/cascades/{name}/what-if`: why one query went
where it went, and where another bundle would have sent it, or all of a period.
"""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from knowgate import Bundle, Window, read_bundle
from knowgate._wire import codec
from services.audit.explain import explain
from services.audit.over_window import over_window
from services.audit.recorded import disclose
from services.errors import InputInvalid
from services.http.access import InAccess
from services.http.auth import require, who_asks
from services.http.context import InContext
from services.http.digested import DigestedJSON
from services.promotion.bundle_files import stored_id
from store.disclosures import Shown
from store.engine import reading
from store.errors import DecisionUnknown
from store.releases import bundles, cascades
from store.tokens import TokenRole
from store.traffic import decisions

router = APIRouter(tags=["audit"])
Named = Annotated[str, Query(min_length=4, description="A bundle's id, or the start of one.")]


@router.get(
    "/v1/decisions/{decision_id}/explanation",
    summary="Why a query went where it went",
    dependencies=[Depends(require(TokenRole.READ))],
)
def get_explanation(
    decision_id: UUID,
    context: InContext,
    access: InAccess,
    by: Annotated[str, Depends(who_asks)],
    bundle: Named | None = None,
) -> Response:
    """What `knowgate audit explain` shows: signals, gates, bundle, certificate, labels, replay,
    ledger, and under `instead` what today's champion, or `bundle`, would have done. Who asked for
    it is in the ledger.
    """
    with reading(context.engine) as session:
        decision = decisions.decision(session, decision_id)
        access.require_sight(decision.cascade, DecisionUnknown(decision_id))
        other = None if bundle is None else _of_cascade(session, decision.cascade, bundle)
        explanation = explain(session, decision, instead=other)
    disclose(context.engine, Shown.EXPLAINED, f"decision {decision_id}", by=by, now=context.now())
    return DigestedJSON(codec.encode(explanation))


@router.get(
    "/v1/cascades/{name}/what-if",
    summary="What a bundle would have done with the decisions of the last days",
    dependencies=[Depends(require(TokenRole.READ))],
)
def get_what_if(name: str, context: InContext, bundle: Named, days: Annotated[int, Query(ge=1, le=31)] = 7) -> Response:
    """What `knowgate audit what-if` shows: the share kept, savings, the change in accuracy with an
    interval, and the changed routes.
    """
    with reading(context.engine) as session:
        cascades.cascade_version(session, name)
        other = _of_cascade(session, name, bundle)
    window = Window(start=context.now() - timedelta(days=days), end=context.now())
    return DigestedJSON(codec.encode(over_window(context.engine, other, window, now=context.now())))


def _of_cascade(session: Session, cascade: str, named: str) -> Bundle:
    """A stored bundle of this cascade. Raises InputInvalid."""
    found = stored_id(session, named, of=cascade)
    bundle = read_bundle(bundles.bundle_content(session, found), expected_id=found)
    if bundle.document.cascade != cascade:
        raise InputInvalid(f"no bundle of {cascade} has an id that starts with {named!r}")
    return bundle
