"""`/v1/deliveries`: what became of messages, one more try for one that was given up, and a test of
all receivers of a cascade.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from services.api.wire import DeliveryList
from services.deliveries import DeliveryStory, delivery_stories, retry, try_receivers
from services.http.access import InAccess
from services.http.auth import require, who_asks
from services.http.conditional import conditional_json
from services.http.context import InContext
from store.engine import reading, transaction
from store.errors import DeliveryUnknown
from store.tokens import TokenRole
from store.watching.deliveries import Fate, delivery

router = APIRouter(tags=["deliveries"])


@router.get(
    "/v1/deliveries",
    summary="Messages to receivers",
    dependencies=[Depends(require(TokenRole.READ))],
    response_model=DeliveryList,
)
def get_deliveries(
    request: Request,
    context: InContext,
    access: InAccess,
    cascade: str | None = None,
    fate: Fate | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Those of one cascade or of all that the token reaches, newest first, each with its tries; of
    one fate where it is given.
    """
    fates = tuple(Fate) if fate is None else (fate,)
    with reading(context.engine) as session:
        found = delivery_stories(session, cascades=access.among(cascade), fates=fates, limit=limit)
    return conditional_json(request, DeliveryList(deliveries=found))


@router.post(
    "/v1/deliveries/{delivery_id}/retry",
    summary="One more try for a message that was given up",
    dependencies=[Depends(require(TokenRole.OPERATOR))],
)
def post_retry(context: InContext, access: InAccess, delivery_id: UUID) -> DeliveryStory:
    """The message as it is then. 409 where it was not given up, or a later one of the same alert
    has reached its receiver.
    """
    with transaction(context.engine) as session:
        access.require_sight(delivery(session, delivery_id).cascade, DeliveryUnknown(delivery_id))
        return retry(session, delivery_id, now=context.now())


@router.post(
    "/v1/cascades/{name}/deliveries/test",
    summary="A test message to every receiver of a cascade",
    status_code=202,
    dependencies=[Depends(require(TokenRole.OPERATOR))],
)
def post_test(context: InContext, name: str, by: Annotated[str, Depends(who_asks)]) -> DeliveryList:
    """The messages, which the scheduler sends next; `GET /v1/deliveries` says how it went. 409
    where the cascade declares no receiver.
    """
    with transaction(context.engine) as session:
        return DeliveryList(deliveries=try_receivers(session, name, by=by, now=context.now()))
