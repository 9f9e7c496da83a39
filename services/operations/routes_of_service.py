"""The addresses of pages about the whole installation: runtimes, jobs, messages, and the ledger."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from services.audit.head_export import newest_head
from services.audit.verify_newest import verify_newest
from services.deliveries import delivery_stories, retry
from services.errors import Refused
from services.http.access import InAccess, require_whole
from services.http.auth import may_act, who_clicks
from services.http.context import Context, InContext
from services.operations import audit_page, jobs_page, runtimes_page
from services.pages.responses import HEADERS, LOOKS, framed, problem
from store.engine import reading, transaction
from store.errors import DeliveryUnknown
from store.ledger.verifications import add_verification
from store.releases import cascades
from store.watching.deliveries import Fate, delivery

router = APIRouter(include_in_schema=False, dependencies=[LOOKS])
WHOLE: Any = Depends(require_whole)
MESSAGES = 200  # that are shown


@router.get("/runtimes")
def get_runtimes(request: Request, context: InContext, access: InAccess) -> Response:
    """The runtimes of all cascades."""
    with reading(context.engine) as session:
        lines = runtimes_page.runtime_lines(session, now=context.now())
    lines = tuple(line for line in lines if access.covers(line.state.cascade))
    return framed(request, context, "operations/runtimes.html", title="Runtimes", lines=lines)


@router.get("/jobs", dependencies=[WHOLE])
def get_jobs(request: Request, context: InContext) -> Response:
    """The service's own work."""
    with reading(context.engine) as session:
        page = jobs_page.jobs_page(session, now=context.now())
    return framed(request, context, "operations/jobs.html", title="Jobs", page=page)


@router.get("/messages")
def get_messages(request: Request, context: InContext, access: InAccess, cascade: str = "", fate: str = "") -> Response:
    """What was sent to receivers; of one cascade or fate where it is named."""
    if fate and fate not in set(Fate):
        said = f"fate is {fate!r}: give one of {', '.join(Fate)}"
        return problem(request, context, said, status=400)
    fates = (Fate(fate),) if fate else tuple(Fate)
    with reading(context.engine) as session:
        stories = delivery_stories(session, cascades=access.among(cascade or None), fates=fates, limit=MESSAGES)
        names = tuple(filter(access.covers, cascades.cascade_names(session)))
    shown: dict[str, Any] = {"stories": stories, "names": names, "cascade": cascade, "fate": fate}
    shown |= {"fates": tuple(Fate), "acts": may_act(request, context), "most": MESSAGES}
    return framed(request, context, "operations/messages.html", title="Messages", **shown)


@router.post("/messages/{delivery_id}/retry")
def post_retry(
    request: Request, delivery_id: UUID, context: InContext, access: InAccess, by: Annotated[str, Depends(who_clicks)]
) -> Response:
    """One more try for a message that was given up."""
    try:
        with transaction(context.engine) as session:
            access.require_sight(delivery(session, delivery_id).cascade, DeliveryUnknown(delivery_id))
            retry(session, delivery_id, now=context.now())
    except (DeliveryUnknown, Refused) as error:
        return problem(request, context, str(error), status=409)
    return RedirectResponse("/messages", status_code=303)


@router.get("/audit", dependencies=[WHOLE])
def get_audit(request: Request, context: InContext) -> Response:
    """The ledger."""
    return _audit(request, context)


@router.post("/audit", dependencies=[WHOLE])
def post_verify(request: Request, context: InContext, by: Annotated[str, Depends(who_clicks)]) -> Response:
    """Verifies what was sealed since the last time, and shows what was found."""
    with reading(context.engine) as session:
        made = verify_newest(session, by=by, now=context.now())
    if made is None:
        return _audit(request, context, "Nothing was sealed since the last verification.")
    with transaction(context.engine) as session:
        add_verification(session, made)
    return RedirectResponse("/audit", status_code=303)


@router.get("/audit/head", dependencies=[WHOLE])
def get_head(request: Request, context: InContext) -> Response:
    """The newest head of the ledger, as a file."""
    try:
        with reading(context.engine) as session:
            head = newest_head(session, context.settings)
    except Refused as error:
        return problem(request, context, str(error))
    headers = HEADERS | {"Content-Disposition": f'attachment; filename="{head.name}"'}
    return Response(head.note, media_type="text/plain; charset=utf-8", headers=headers)


def _audit(request: Request, context: Context, message: str | None = None) -> Response:
    with reading(context.engine) as session:
        page = audit_page.audit_page(session, context.settings)
    acts = may_act(request, context)
    return framed(
        request,
        context,
        "operations/audit.html",
        title="Audit",
        page=page,
        acts=acts,
        message=message,
    )
