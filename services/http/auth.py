"""Who may ask for what.

A program shows `Authorization: Bearer kg_…`; a person's browser shows the cookie that the sign-in
page set, which opens pages and their forms, and nothing else. Roles:
`ingest` sends decisions and labels and asks for verdicts; `runtime` fetches assignments and
bundles, acknowledges them and ships its decisions; `read` looks at everything; `operator` looks at
everything and acts on it; `admin` may do all of it.

A page's form acts for the person whose cookie it carries. Browsers send the cookie with no request
that another site makes, and a form is taken from our own pages alone.

With KNOWGATE_AUTH=off (loopback only) nobody is asked, but the request must name a loopback host:
otherwise a web page could reach the service through a name of its own that resolves to 127.0.0.1.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import HTTPBearer

from services.http.context import InContext
from services.http.errors import ApiError
from services.settings import Auth, is_loopback, operator
from store.tokens import TokenRole

COOKIE = "knowgate_token"
OFF = "with KNOWGATE_AUTH=off the service answers to localhost alone; switch it on to use another name"
BEARER = HTTPBearer(auto_error=False, description="A token from `knowgate token create NAME --role ROLE`.")


def require(*roles: TokenRole) -> Callable[..., None]:
    """A dependency that lets only these roles and `admin` through, and `operator` wherever `read`
    may go. Raises 401 or 403 with the cure.
    """

    def check(request: Request, context: InContext, _: object = Security(BEARER)) -> None:
        if context.settings.auth is Auth.OFF:
            require_loopback_host(request, OFF)
            return
        token = bearer_of(request)
        if not token:
            raise _unauthorized("missing", f"send 'Authorization: Bearer kg_…' of a token with role {roles[0]}")
        _check(context, token, roles)

    return check


def is_admin(request: Request, context: InContext) -> bool:
    """Whether whoever asks may see secrets; with KNOWGATE_AUTH=off that is everybody
    who is let in.
    """
    if context.settings.auth is Auth.OFF:
        return True
    return _is_of(context, bearer_of(request), TokenRole.ADMIN)


def has_page_access(request: Request, context: InContext) -> bool:
    """Whether the browser's cookie (or a bearer token) may look at pages."""
    if context.settings.auth is Auth.OFF:
        require_loopback_host(request, OFF)
        return True
    shown = bearer_of(request)
    return may_read(context, request.cookies.get(COOKIE, "") if shown is None else shown)


def may_read(context: InContext, token: str) -> bool:
    """Whether the token may look at pages."""
    return _is_of(context, token, TokenRole.READ)


def who_asks(request: Request, context: InContext) -> str:
    """Who acts by an API call that `require` let through: the token's name; with KNOWGATE_AUTH=off
    the operator of this machine.
    """
    return _name(context, bearer_of(request))


def who_clicks(request: Request, context: InContext) -> str:
    """Who acts by a form of one of our pages. Raises 403 for another site's form, and for a person
    who may look but not act.
    """
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin" or not _from_here(request):
        cure = "act on the page itself: a form of another site is refused"
        raise ApiError(403, field="origin", value=request.headers.get("origin"), cure=cure)
    if context.settings.auth is Auth.OFF:
        require_loopback_host(request, OFF)
        return _name(context, None)
    token = request.cookies.get(COOKIE, "")
    if not _is_of(context, token, TokenRole.OPERATOR):
        cure = "sign in with a token of role operator or admin: yours may look, not act"
        raise ApiError(403, field="token", value="role read", cure=cure)
    return _name(context, token)


def may_act(request: Request, context: InContext) -> bool:
    """Whether a page's forms would be taken from whoever looks at it."""
    if context.settings.auth is Auth.OFF:
        return True
    return _is_of(context, request.cookies.get(COOKIE, ""), TokenRole.OPERATOR)


def bearer_of(request: Request) -> str | None:
    """The token that a program shows; None where it shows none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def require_loopback_host(request: Request, cure: str) -> None:
    """Raises 403 where the request names another host than this machine."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if not is_loopback(host):
        raise ApiError(403, field="host", value=host, cure=cure)


def _from_here(request: Request) -> bool:
    """Whether the page that a form was on came from the same host and port; browsers say so with
    every form.
    """
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def _name(context: InContext, token: str | None) -> str:
    record = context.tokens.verify(token, context.now()) if token else None
    return operator(context.settings) if record is None else record.name


def _is_of(context: InContext, token: str | None, *roles: TokenRole) -> bool:
    record = context.tokens.verify(token, context.now()) if token else None
    return record is not None and _may(record.role, roles)


def _may(role: TokenRole, roles: tuple[TokenRole, ...]) -> bool:
    return role is TokenRole.ADMIN or role in roles or (role is TokenRole.OPERATOR and TokenRole.READ in roles)


def _check(context: InContext, token: str, roles: tuple[TokenRole, ...]) -> None:
    record = context.tokens.verify(token, context.now())
    if record is None:
        raise _unauthorized("not known or revoked", "make one with `knowgate token create NAME --role ROLE`")
    if not _may(record.role, roles):
        wanted = " or ".join([*roles, TokenRole.ADMIN])
        raise ApiError(403, field="token", value=f"role {record.role}", cure=f"use a token with role {wanted}")


def _unauthorized(value: str, cure: str) -> ApiError:
    return ApiError(401, field="authorization", value=value, cure=cure, headers={"WWW-Authenticate": "Bearer"})
