"""The addresses that ask nobody who looks: signing in and out, the API's reference, and what every
page loads.
"""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from services.http.auth import COOKIE, may_read
from services.http.bodies import Form
from services.http.conditional import conditional
from services.http.context import InContext
from services.pages.figures_shown import REASONS, TITLES
from services.pages.rendering import FOLDER
from services.pages.responses import SIGN_IN, framed

router = APIRouter(include_in_schema=False)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@router.get("/docs")
def get_reference(request: Request, context: InContext) -> Response:
    """The API's addresses, from its own description."""
    document = request.app.openapi()
    return framed(request, context, "reference.html", title="API", document=document)


@router.get("/glossary")
def get_glossary(request: Request, context: InContext) -> Response:
    """What each figure is called, and what states mean."""
    return framed(request, context, "glossary.html", title="Words", titles=TITLES, reasons=REASONS)


@router.get(SIGN_IN)
def get_sign_in(request: Request, context: InContext) -> Response:
    """Asks for a token."""
    return framed(request, context, "sign_in.html", title="Sign in", refused=False)


@router.post(SIGN_IN)
def post_sign_in(request: Request, form: Form, context: InContext) -> Response:
    """Keeps a good token in a cookie that scripts cannot read and other sites cannot send."""
    token = form.get("token", "").strip()
    if not token or not may_read(context, token):
        return framed(request, context, "sign_in.html", status=401, title="Sign in", refused=True)
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
@router.get("/style.css")
@router.get("/page.js")
def get_file(request: Request) -> Response:
    """The gate, the one style sheet, or the one script."""
    name = Path(request.url.path).name
    return conditional(request, (FOLDER / name).read_bytes(), media_type=_TYPES[Path(name).suffix])
