"""The pages' addresses. Who may not look is sent to the sign-in page; a form acts only for who may,
and from our own pages alone (`services.http.auth`).
"""

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.alerts import act_on, silence_until
from services.errors import InputInvalid, Refused
from services.http.auth import COOKIE, has_page_access, may_act, may_read, who_clicks
from services.http.bodies import Form
from services.http.conditional import conditional
from services.http.context import Context, InContext
from services.pages import alert_page, cascade_page, decision_page, overview, switch_page
from services.pages.decision_page import GATE_NAMES
from services.pages.rendering import FOLDER, templates
from services.settings import Auth
from store.engine import reading, transaction
from store.errors import AlertUnknown, BundleDamaged, CascadeUnknown, DecisionUnknown, GenerationMoved
from store.traffic.decisions import find_decision
from store.watching.alert_acts import Act, AlertAct

router = APIRouter(include_in_schema=False)
SIGN_IN = "/sign-in"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


@router.get("/")
def get_overview(request: Request, context: InContext) -> Response:
    """All cascades."""
    if not has_page_access(request, context):
        return RedirectResponse(SIGN_IN, status_code=303)
    with reading(context.engine) as session:
        page_lines = overview.lines(session)
    return _page(request, context, "overview.html", title="Cascades", lines=page_lines)


@router.get("/cascades/{name}")
def get_cascade_page(request: Request, name: str, context: InContext) -> Response:
    """One cascade."""
    if not has_page_access(request, context):
        return RedirectResponse(SIGN_IN, status_code=303)
    try:
        with reading(context.engine) as session:
            page = cascade_page.cascade_page(session, name, now=context.now())
    except (CascadeUnknown, BundleDamaged) as error:
        return _problem(request, context, str(error))
    return _page(request, context, "cascade.html", title=name, page=page)


@router.get("/cascades/{name}/find")
def find(request: Request, name: str, context: InContext, id: str = "") -> Response:
    """Goes to the decision of this id or external id."""
    if not has_page_access(request, context):
        return RedirectResponse(SIGN_IN, status_code=303)
    wanted = _uuid(id.strip())
    if wanted is None and "\x00" not in id:
        with reading(context.engine) as session:
            decision = find_decision(session, name, id.strip())
        wanted = None if decision is None else decision.id
    if wanted is None:
        return _problem(request, context, f"{name} has no decision with the id or external id {id!r}.")
    return RedirectResponse(f"/decisions/{wanted}", status_code=303)


@router.get("/cascades/{name}/observe")
@router.get("/cascades/{name}/resume")
def get_switch_page(request: Request, name: str, context: InContext) -> Response:
    """The form that switches a cascade on, or has it observed."""
    if not has_page_access(request, context):
        return RedirectResponse(SIGN_IN, status_code=303)
    return _switch(request, context, name)


@router.post("/cascades/{name}/observe")
@router.post("/cascades/{name}/resume")
def post_switch(
    request: Request, name: str, form: Form, context: InContext, by: Annotated[str, Depends(who_clicks)]
) -> Response:
    """Makes the move, and shows the cascade; or the form again, with what speaks against it."""
    move = request.url.path.rpartition("/")[2]
    try:
        switch_page.make_move(context.engine, context.settings, name, move, form, by=by, now=context.now())
    except CascadeUnknown as error:
        return _problem(request, context, str(error))
    except (InputInvalid, Refused, GenerationMoved) as error:
        status = 400 if isinstance(error, InputInvalid) else 409
        return _switch(request, context, name, form=form, message=str(error), status=status)
    return RedirectResponse(f"/cascades/{name}", status_code=303)


def _switch(
    request: Request,
    context: Context,
    name: str,
    *,
    form: dict[str, str] | None = None,
    message: str | None = None,
    status: int = 200,
) -> Response:
    try:
        with reading(context.engine) as session:
            page = switch_page.switch_page(session, name, request.url.path.rpartition("/")[2])
    except CascadeUnknown as error:
        return _problem(request, context, str(error))
    shown: dict[str, Any] = {"page": page, "reason": (form or {}).get("reason", ""), "message": message}
    shown["acts"] = may_act(request, context)
    return _page(request, context, "switch.html", status=status, title=name, **shown)


@router.get("/decisions/{decision_id}")
def get_decision_page(request: Request, decision_id: str, context: InContext) -> Response:
    """One decision."""
    if not has_page_access(request, context):
        return RedirectResponse(SIGN_IN, status_code=303)
    wanted = _uuid(decision_id)
    if wanted is None:
        return _problem(request, context, f"{decision_id!r} is not a decision's id.")
    try:
        with reading(context.engine) as session:
            page = decision_page.decision_page(session, wanted)
    except (DecisionUnknown, BundleDamaged) as error:
        return _problem(request, context, str(error))
    return _page(request, context, "decision.html", title="Decision", page=page, gate_names=GATE_NAMES)


@router.get("/alerts")
def get_alerts_page(request: Request, context: InContext) -> Response:
    """What is wrong now."""
    if not has_page_access(request, context):
        return RedirectResponse(SIGN_IN, status_code=303)
    with reading(context.engine) as session:
        shown = alert_page.open_alerts(session)
    return _page(request, context, "alerts.html", title="Alerts", alerts=shown)


@router.get("/alerts/{alert_id}")
def get_alert_page(request: Request, alert_id: str, context: InContext) -> Response:
    """One alert."""
    if not has_page_access(request, context):
        return RedirectResponse(SIGN_IN, status_code=303)
    wanted = _uuid(alert_id)
    if wanted is None:
        return _problem(request, context, f"{alert_id!r} is not an alert's id.")
    try:
        with reading(context.engine) as session:
            page = alert_page.alert_page(session, wanted)
    except AlertUnknown as error:
        return _problem(request, context, str(error))
    acts, silences = may_act(request, context), alert_page.SILENCES
    return _page(request, context, "alert.html", title=page.story.title, page=page, acts=acts, silences=silences)


@router.post("/alerts/{alert_id}")
def post_alert_act(
    request: Request, alert_id: UUID, form: Form, context: InContext, by: Annotated[str, Depends(who_clicks)]
) -> Response:
    """What a person does about an alert on its page."""
    now = context.now()
    try:
        until = silence_until(form["duration"], now) if "duration" in form else None
        act = AlertAct(
            alert_id=alert_id, act=Act(form.get("act", "")), by=by, reason=form.get("reason", ""), at=now, until=until
        )
        with transaction(context.engine) as session:
            act_on(session, act)
    except (InputInvalid, Refused, AlertUnknown, ValueError) as error:
        return _problem(request, context, str(error), status=409)
    return RedirectResponse(f"/alerts/{alert_id}", status_code=303)


@router.get("/docs")
def get_reference(request: Request, context: InContext) -> Response:
    """The API's addresses, from its own description."""
    document = request.app.openapi()
    return _page(request, context, "reference.html", title="API", document=document)


@router.get(SIGN_IN)
def get_sign_in(request: Request, context: InContext) -> Response:
    """Asks for a token."""
    return _page(request, context, "sign_in.html", title="Sign in", refused=False)


@router.post(SIGN_IN)
def post_sign_in(request: Request, form: Form, context: InContext) -> Response:
    """Keeps a good token in a cookie that scripts cannot read and other sites cannot send."""
    token = form.get("token", "").strip()
    if not token or not may_read(context, token):
        return _page(request, context, "sign_in.html", status=401, title="Sign in", refused=True)
    response = RedirectResponse("/", status_code=303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure, max_age=30 * 86400)
    return response


@router.post("/sign-out")
def post_sign_out() -> Response:
    """Forgets the token."""
    response = RedirectResponse(SIGN_IN, status_code=303)
    response.delete_cookie(COOKIE)
    return response


@router.get("/icon.svg")
def get_icon(request: Request) -> Response:
    """The gate."""
    return conditional(request, (FOLDER / "icon.svg").read_bytes(), media_type="image/svg+xml")


@router.get("/style.css")
def get_style(request: Request) -> Response:
    """The one style sheet."""
    return conditional(request, (FOLDER / "style.css").read_bytes(), media_type="text/css")


def _page(
    request: Request, context: Context, template: str, *, status: int = 200, title: str, **shown: Any
) -> HTMLResponse:
    html = (
        templates()
        .get_template(template)
        .render(
            title=title, now=context.now(), path=request.url.path, signs_in=context.settings.auth is Auth.ON, **shown
        )
    )
    return HTMLResponse(html, status_code=status, headers=HEADERS)


def _problem(request: Request, context: Context, message: str, *, status: int = 404) -> HTMLResponse:
    title = "Not found" if status == 404 else "Not done"
    return _page(request, context, "problem.html", status=status, title=title, message=message)


def _uuid(text: str) -> UUID | None:
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        return None
    return UUID(text)
