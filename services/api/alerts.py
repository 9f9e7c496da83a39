"""`/v1/alerts`: what is wrong, what became of it, and what a person does about it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from knowgate._wire import codec
from services.alerts import AlertStory, act_on, silence_until, stories, story
from services.api.openapi import body_of
from services.api.wire import ActRequest, AlertList
from services.http.access import InAccess
from services.http.auth import require, who_asks
from services.http.bodies import Body, parse_json, require_json
from services.http.conditional import conditional_json
from services.http.context import InContext
from store.engine import reading, transaction
from store.errors import AlertUnknown
from store.tokens import TokenRole
from store.watching.alert_acts import AlertAct
from store.watching.alerts import alert, alerts

router = APIRouter(tags=["alerts"])


@router.get("/v1/alerts", summary="Alerts", dependencies=[Depends(require(TokenRole.READ))], response_model=AlertList)
def get_alerts(
    request: Request, context: InContext, access: InAccess, cascade: str | None = None, resolved: bool = False
) -> Response:
    """Those of one cascade or of all that the token reaches, oldest first, with their rings and
    what people did; resolved ones only where they are asked for.
    """
    with reading(context.engine) as session:
        found = [one for of in access.among(cascade) for one in alerts(session, of, open_only=not resolved)]
        listed = AlertList(alerts=stories(session, sorted(found, key=lambda one: one.opened_at)))
    return conditional_json(request, listed)


@router.get(
    "/v1/alerts/{alert_id}",
    summary="One alert",
    dependencies=[Depends(require(TokenRole.READ))],
    response_model=AlertStory,
)
def get_alert(request: Request, context: InContext, access: InAccess, alert_id: UUID) -> Response:
    """The alert, its rings, and what people did about it."""
    with reading(context.engine) as session:
        alert_story = story(session, alert_id)
    access.require_sight(alert_story.alert.cascade, AlertUnknown(alert_id))
    return conditional_json(request, alert_story)


@router.post(
    "/v1/alerts/{alert_id}/acts",
    summary="Acknowledge, silence or resolve an alert",
    dependencies=[Depends(require(TokenRole.OPERATOR)), Depends(require_json)],
    openapi_extra=body_of("ActRequest"),
)
def post_act(
    body: Body, context: InContext, access: InAccess, alert_id: UUID, by: Annotated[str, Depends(who_asks)]
) -> AlertStory:
    """Kept with the token's name, the reason and the time, and sealed in the ledger.

    The answer is the alert as it is then. A silence lasts for its `duration`, such as 4h; 0s ends
    one. 409 where the alert is resolved already.
    """
    asked, now = codec.decode(ActRequest, parse_json(body)), context.now()
    until = silence_until(asked.duration, now)
    act = AlertAct(alert_id=alert_id, act=asked.act, by=by, reason=asked.reason, at=now, until=until)
    with transaction(context.engine) as session:
        access.require_sight(alert(session, alert_id).cascade, AlertUnknown(alert_id))
        return act_on(session, act)
