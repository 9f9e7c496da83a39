"""Signing in and out: with a token, or by an identity provider where the settings name one."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from services.http.auth import COOKIE, host_of, require_same_site, token_of_looker
from services.http.bodies import Form
from services.http.context import Context, InContext
from services.http.identity import BACK, Begun, NotSignedIn
from services.pages.responses import SIGN_IN, framed
from services.settings import is_loopback
from store.engine import transaction
from store.sign_ins import NewSignIn, add_sign_in, end_sign_in

router = APIRouter(include_in_schema=False)
BEGUN = "knowgate_sign_in_begun"  # a cookie: it comes along when the provider sends the browser back
_BEGUN_FOR_S = 600


@router.get(SIGN_IN)
def get_sign_in(request: Request, context: InContext) -> Response:
    """Asks for a token."""
    return _form(request, context)


@router.post(SIGN_IN)
def post_sign_in(request: Request, form: Form, context: InContext) -> Response:
    """Signs in whoever shows a good token."""
    require_same_site(request, browser=False)
    plaintext = form.get("token", "").strip()
    token = token_of_looker(request, context, plaintext) if plaintext else None
    if token is None:
        return _form(request, context, "This token is wrong, revoked, expired, or has another role.")
    response = RedirectResponse("/", status_code=303)
    until = context.now() + context.settings.sign_in_lifetime
    wanted = NewSignIn(name=token.name, role=token.role, cascades=token.cascades, token_id=token.id, expires_at=until)
    _keep(request, context, response, wanted)
    return response


@router.get("/sign-in/oidc")
def get_begin(request: Request, context: InContext) -> Response:
    """Sends the browser to the identity provider."""
    if context.identity is None:
        return _form(request, context, "No identity provider is set: KNOWGATE_OIDC_ISSUER names one.", status=404)
    try:
        url, begun = context.identity.begin()
    except NotSignedIn as error:
        return _form(request, context, f"{error}.")
    response = RedirectResponse(url, status_code=303, headers={"Cache-Control": "no-store"})
    secure = _is_secure(request)
    # Lax: a strict cookie would stay behind when another site, the provider's, sends the browser
    # back.
    response.set_cookie(
        BEGUN, begun.cookie, httponly=True, samesite="lax", secure=secure, max_age=_BEGUN_FOR_S, path=BACK
    )
    return response


@router.get(BACK)
def get_back(request: Request, context: InContext, code: str = "", state: str = "") -> Response:
    """Signs in whoever the provider vouches for, and who may look.

    The answer is a page that goes on by itself: a redirect would still be a step of the provider's,
    with which the browser sends no cookie of ours.
    """
    if context.identity is None:
        return _form(request, context, "No identity provider is set: KNOWGATE_OIDC_ISSUER names one.", status=404)
    try:
        access = context.identity.end(Begun.of_cookie(request.cookies.get(BEGUN, "")), code=code, state=state)
    except NotSignedIn as error:
        response: Response = _form(request, context, f"{error}.")
    else:
        response = framed(request, context, "signed_in.html", title="Signed in", name=access.name)
        response.headers["Refresh"] = "0; url=/"
        until = context.now() + context.settings.sign_in_lifetime
        who: dict[str, Any] = {"name": access.name, "role": access.role, "cascades": access.cascades}
        _keep(request, context, response, NewSignIn(**who, token_id=None, expires_at=until))
    response.delete_cookie(BEGUN, path=BACK)
    return response


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


def _form(request: Request, context: Context, refused: str | None = None, *, status: int = 401) -> Response:
    return framed(
        request,
        context,
        "sign_in.html",
        status=200 if refused is None else status,
        title="Sign in",
        refused=refused,
        provider=context.identity is not None,
    )


def _keep(request: Request, context: Context, response: Response, wanted: NewSignIn) -> None:
    """Keep a sign-in, and give its secret to the browser in a cookie that scripts cannot read and
    other sites cannot send, and that goes over TLS alone but on this machine.
    """
    with transaction(context.engine) as session:
        secret = add_sign_in(session, wanted, now=context.now())
    left = int(context.settings.sign_in_lifetime.total_seconds())
    response.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=_is_secure(request), max_age=left)


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https" or not is_loopback(host_of(request))
