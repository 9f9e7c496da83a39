"""The addresses that ask nobody who looks: signing in and out, the API's reference, and what every
page loads.
"""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from services.http.auth import COOKIE, host_of, require_same_site, token_of_looker
from services.http.bodies import Form
from services.http.conditional import conditional
from services.http.context import Context, InContext
from services.pages.figures_shown import REASONS, TITLES
from services.pages.rendering import FOLDER
from services.pages.responses import SIGN_IN, framed
from services.settings import is_loopback
from store.engine import transaction
from store.sign_ins import NewSignIn, add_sign_in, end_sign_in

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
    """Signs in whoever shows a good token."""
    require_same_site(request, browser=False)
    plaintext, now = form.get("token", "").strip(), context.now()
    token = token_of_looker(context, plaintext) if plaintext else None
    if token is None:
        return framed(request, context, "sign_in.html", status=401, title="Sign in", refused=True)
    response = RedirectResponse("/", status_code=303)
    until = now + context.settings.sign_in_lifetime
    wanted = NewSignIn(name=token.name, role=token.role, cascades=token.cascades, token_id=token.id, expires_at=until)
    keep_sign_in(request, context, response, wanted)
    return response


def keep_sign_in(request: Request, context: Context, response: Response, wanted: NewSignIn) -> None:
    """Keep a sign-in, and give its secret to the browser in a cookie that scripts cannot read and
    other sites cannot send, and that goes over TLS alone but on this machine.
    """
    with transaction(context.engine) as session:
        secret = add_sign_in(session, wanted, now=context.now())
    left = int(context.settings.sign_in_lifetime.total_seconds())
    secure = request.url.scheme == "https" or not is_loopback(host_of(request))
    response.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=secure, max_age=left)


@router.post("/sign-out")
def post_sign_out(request: Request, context: InContext) -> Response:
    """Ends the sign-in, here at once and at other processes within seconds."""
    require_same_site(request, browser=COOKIE in request.cookies)
    secret = request.cookies.get(COOKIE)
    if secret is not None:
        with transaction(context.engine) as session:
            end_sign_in(session, secret, now=context.now())
        context.tokens.forget(secret)
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
