"""What all pages share: who may look, the frame they stand in, and what a browser may load.

A page loads one style sheet and one script, both from here, and nothing else: no line of script
stands in a page, so text that got into one is never run.
"""

import re
from typing import Any
from uuid import UUID

from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.exc import SQLAlchemyError

from services.http.access import Access
from services.http.auth import page_access
from services.http.context import Context, InContext
from services.http.heartbeat import heartbeat
from services.pages.rendering import templates
from services.settings import Auth
from store.engine import reading

SIGN_IN = "/sign-in"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# The places of the head, in its order: an address and its word.
PLACES: tuple[tuple[str, str], ...] = (
    ("/", "Overview"),
    ("/alerts", "Alerts"),
    ("/runtimes", "Runtimes"),
    ("/jobs", "Jobs"),
    ("/messages", "Messages"),
    ("/audit", "Audit"),
    ("/docs", "API"),
)
OF_THE_WHOLE = ("/jobs", "/audit")  # what is for nobody who reaches some cascades alone
# The same of one cascade, after its address.
PLACES_OF_A_CASCADE: tuple[tuple[str, str], ...] = (
    ("", "Now"),
    ("/how", "How it decides"),
    ("/slices", "Slices"),
    ("/decisions", "Decisions"),
    ("/bundles", "Bundles"),
    ("/labels", "Labels"),
    ("/reports", "Reports"),
)


def require_look(request: Request, context: InContext) -> None:
    """Sends whoever may not look to the sign-in page."""
    if page_access(request, context) is None:
        raise HTTPException(303, headers={"Location": SIGN_IN})


LOOKS: Any = Depends(require_look)  # of a router whose every page asks who looks


def framed(
    request: Request, context: Context, template: str, *, status: int = 200, title: str, **shown: Any
) -> HTMLResponse:
    """A template in its frame; `shown` are its own names."""
    frame = {
        "title": title,
        "now": context.now(),
        "path": request.url.path,
        "places": _open_places(request),
        "places_of_a_cascade": PLACES_OF_A_CASCADE,
        "signs_in": context.settings.auth is Auth.ON,
        "unwatched": None if request.url.path == SIGN_IN else _unwatched(context),
    }
    return HTMLResponse(templates().get_template(template).render(frame | shown), status_code=status, headers=HEADERS)


def _open_places(request: Request) -> tuple[tuple[str, str], ...]:
    """Those that are not refused to whoever looks."""
    access: Access | None = getattr(request.state, "access", None)
    if access is None or access.cascades is None:
        return PLACES
    return tuple(place for place in PLACES if place[0] not in OF_THE_WHOLE)


def _unwatched(context: Context) -> str | None:
    """What every page says where the scheduler stands still: it can raise no alert itself."""
    try:
        with reading(context.engine) as session:
            beat = heartbeat(session, now=context.now())
    except SQLAlchemyError:
        return None  # the page is about that itself
    return beat.sentence if beat.wrong else None


def problem(request: Request, context: Context, message: str, *, status: int = 404) -> HTMLResponse:
    """A page that says what is not there, or was not done."""
    title = "Not found" if status == 404 else "Not done"
    return framed(request, context, "problem.html", status=status, title=title, message=message)


def uuid_of(text: str) -> UUID | None:
    """The id that `text` writes out in full; None for all else."""
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        return None
    return UUID(text)
