"""The pages' addresses. Who may not look is sent to the sign-in page; a form acts only for who may,
and from our own pages alone (`services.http.auth`).
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from services.alerts import act_on, silence_until
from services.audit.recorded import disclose
from services.errors import InputInvalid, Refused
from services.http.access import InAccess
from services.http.auth import may_act, who_clicks
from services.http.bodies import Form
from services.http.context import InContext
from services.pages import alert_page, decision_page
from services.pages.decision_page import GATE_NAMES
from services.pages.responses import LOOKS, framed, problem, uuid_of
from services.pages.runbook_page import runbook
from store.disclosures import Shown
from store.engine import reading, transaction
from store.errors import AlertUnknown, BundleDamaged, DecisionUnknown
from store.traffic.decisions import find_decision
from store.watching.alert_acts import Act, AlertAct
from store.watching.alerts import alert

router = APIRouter(include_in_schema=False, dependencies=[LOOKS])


@router.get("/cascades/{name}/find")
def find(request: Request, name: str, context: InContext, id: str = "") -> Response:
    """Goes to the decision of this id or external id."""
    wanted = uuid_of(id.strip())
    if wanted is None and "\x00" not in id:
        with reading(context.engine) as session:
            decision = find_decision(session, name, id.strip())
        wanted = None if decision is None else decision.id
    if wanted is None:
        return problem(request, context, f"{name} has no decision with the id or external id {id!r}.")
    return RedirectResponse(f"/decisions/{wanted}", status_code=303)


@router.get("/decisions/{decision_id}")
def get_decision_page(request: Request, decision_id: str, context: InContext, access: InAccess) -> Response:
    """One decision."""
    wanted = uuid_of(decision_id)
    if wanted is None:
        return problem(request, context, f"{decision_id!r} is not a decision's id.")
    try:
        with reading(context.engine) as session:
            page = decision_page.decision_page(session, wanted)
        access.require_sight(page.decision.cascade, DecisionUnknown(wanted))
        disclose(context.engine, Shown.EXPLAINED, f"decision {wanted}", by=access.name, now=context.now())
    except (DecisionUnknown, BundleDamaged) as error:
        return problem(request, context, str(error))
    return framed(request, context, "decision.html", title="Decision", page=page, gate_names=GATE_NAMES)


@router.get("/alerts")
def get_alerts_page(request: Request, context: InContext, access: InAccess, all: str = "") -> Response:
    """What is wrong now; with `all`, also what was."""
    with reading(context.engine) as session:
        shown = alert_page.newest_alerts(session) if all else alert_page.open_alerts(session)
    shown = tuple(one for one in shown if access.covers(one.alert.cascade))
    most = alert_page.MOST
    return framed(request, context, "alerts.html", title="Alerts", alerts=shown, all=bool(all), most=most)


@router.get("/alerts/{alert_id}")
def get_alert_page(request: Request, alert_id: str, context: InContext, access: InAccess) -> Response:
    """One alert."""
    wanted = uuid_of(alert_id)
    if wanted is None:
        return problem(request, context, f"{alert_id!r} is not an alert's id.")
    try:
        with reading(context.engine) as session:
            page = alert_page.alert_page(session, wanted)
        access.require_sight(page.story.alert.cascade, AlertUnknown(wanted))
    except AlertUnknown as error:
        return problem(request, context, str(error))
    acts, silences = may_act(request, context), alert_page.SILENCES
    return framed(request, context, "alert.html", title=page.story.title, page=page, acts=acts, silences=silences)


@router.get("/docs/runbooks/{book_name:path}.md")
def get_runbook(request: Request, book_name: str, context: InContext) -> Response:
    """What to check and to do about a rule, at the path that messages and alerts name it by."""
    book = runbook(book_name)
    if book is None:
        return problem(request, context, f"There is no runbook docs/runbooks/{book_name}.md here.")
    return framed(request, context, "runbook.html", title=book.title, book=book)


@router.post("/alerts/{alert_id}")
def post_alert_act(
    request: Request,
    alert_id: UUID,
    form: Form,
    context: InContext,
    access: InAccess,
    by: Annotated[str, Depends(who_clicks)],
) -> Response:
    """What a person does about an alert on its page."""
    now = context.now()
    try:
        until = silence_until(form["duration"], now) if "duration" in form else None
        act = AlertAct(
            alert_id=alert_id, act=Act(form.get("act", "")), by=by, reason=form.get("reason", ""), at=now, until=until
        )
        with transaction(context.engine) as session:
            access.require_sight(alert(session, alert_id).cascade, AlertUnknown(alert_id))
            act_on(session, act)
    except (InputInvalid, Refused, AlertUnknown, ValueError) as error:
        return problem(request, context, str(error), status=409)
    return RedirectResponse(f"/alerts/{alert_id}", status_code=303)
