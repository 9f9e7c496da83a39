"""Who may ask for what.

A program shows `Authorization: Bearer kg_…`; a person's browser shows the cookie of its sign-in,
which opens pages and their forms, and nothing else. Roles:
`ingest` sends decisions and labels and asks for verdicts; `runtime` fetches assignments and
bundles, acknowledges them and ships its decisions; `read` looks at everything; `operator` looks at
everything and acts on it; `admin` may do all of it. Each reaches all cascades or those that it
names (`services.http.access`).

A page's form acts for the person whose cookie it carries. Browsers send the cookie with no request
that another site makes, and a form is taken from our own pages alone.

With KNOWGATE_AUTH=off (loopback only) nobody is asked, but the request must name a loopback host:
otherwise a web page could reach the service through a name of its own that resolves to 127.0.0.1.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import HTTPBearer

from services.http.access import LOOKERS, Access, InAccess
from services.http.context import Context, InContext
from services.http.errors import ApiError
from services.http.rates import too_often
from services.settings import Auth, is_loopback, operator
from store.tokens import TokenRecord, TokenRole

COOKIE = "knowgate_sign_in"
OFF = "with KNOWGATE_AUTH=off the service answers to localhost alone; switch it on to use another name"
BEARER = HTTPBearer(auto_error=False, description="A token from `knowgate token create NAME --role ROLE`.")
_MAKE_ONE = "make one with `knowgate token create NAME --role ROLE`"


def require(*roles: TokenRole) -> Callable[..., None]:
    """A dependency that lets only these roles and `admin` through, and `operator` wherever `read`
    may go; and to the address of a cascade, `…/{name}`, only who reaches it. Raises 401 or 403 with
    the cure.
    """

    def check(request: Request, context: InContext, _: object = Security(BEARER)) -> None:
        access = _asking(request, context, roles)
        if not access.may(*roles):
            wanted = " or ".join([*roles, TokenRole.ADMIN])
            raise ApiError(403, field="token", value=f"role {access.role}", cure=f"use a token with role {wanted}")
        _let_in(request, access)

    return check


def page_access(request: Request, context: InContext) -> Access | None:
    """What the browser's sign-in (or a bearer token) opens of pages; None where it opens none.
    Raises 403 for the pages of a cascade that it does not reach.
    """
    if context.settings.auth is Auth.OFF:
        access = _of_this_machine(request, context)
    else:
        shown = bearer_of(request)
        found = signed_in(request, context) if shown is None else _of_token(_good(request, context, shown))
        if found is None or found.role not in LOOKERS:
            return None
        access = found
    _let_in(request, access)
    return access


def signed_in(request: Request, context: Context) -> Access | None:
    """What the browser's sign-in opens; None where there is none, or where it has ended."""
    found = context.tokens.sign_in(request.cookies.get(COOKIE, ""), context.now())
    return None if found is None else Access(name=found.name, role=found.role, cascades=found.cascades)


def token_of_looker(request: Request, context: Context, plaintext: str) -> TokenRecord | None:
    """A good token of a role that pages open to; else None. Raises 429."""
    token = _good(request, context, plaintext)
    return token if token is not None and token.role in LOOKERS else None


def who_asks(access: InAccess) -> str:
    """Who acts by an API call that `require` let through: the token's name; with KNOWGATE_AUTH=off
    the operator of this machine.
    """
    return access.name


def who_clicks(request: Request, context: InContext) -> str:
    """Who acts by a form of one of our pages. Raises 403 for another site's form, and for a person
    who may look but not act.
    """
    require_same_site(request)
    access = _clicking(request, context)
    if access is None or not access.may(TokenRole.OPERATOR):
        cure = "sign in with role operator or admin: yours may look, not act"
        raise ApiError(403, field="token", value="role read", cure=cure)
    return access.name


def may_act(request: Request, context: InContext) -> bool:
    """Whether a page's forms would be taken from whoever looks at it."""
    access = _clicking(request, context)
    return access is not None and access.may(TokenRole.OPERATOR)


def require_same_site(request: Request, *, browser: bool = True) -> None:
    """Raises 403 for a form that is not on a page of ours. A browser says with every form where it
    was; with `browser` False also what says nothing is taken, for a form that acts for nobody.
    """
    origin = request.headers.get("origin")
    ours = not browser if origin is None else urlsplit(origin).netloc == request.headers.get("host")
    if not ours or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        cure = "act on the page itself: a form of another site is refused"
        raise ApiError(403, field="origin", value=origin, cure=cure)


def bearer_of(request: Request) -> str | None:
    """The token that a program shows; None where it shows none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def require_loopback_host(request: Request, cure: str) -> None:
    """Raises 403 where the request names another host than this machine."""
    host = host_of(request)
    if not is_loopback(host):
        raise ApiError(403, field="host", value=host, cure=cure)


def host_of(request: Request) -> str:
    """The name or the address that the request was sent to, without its port."""
    return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""


def _let_in(request: Request, access: Access) -> None:
    """What follows reads it there. Of the addresses with a `name`, all are of the cascade's."""
    name = request.path_params.get("name")
    if name is not None:
        access.require(name)
    request.state.access = access


def _asking(request: Request, context: Context, roles: tuple[TokenRole, ...]) -> Access:
    """What a program's token opens. Raises 401."""
    if context.settings.auth is Auth.OFF:
        return _of_this_machine(request, context)
    plaintext = bearer_of(request)
    if not plaintext:
        raise _unauthorized("missing", f"send 'Authorization: Bearer kg_…' of a token with role {roles[0]}")
    token = _looked_up(request, context, plaintext)
    if token is None:
        raise _unauthorized("not known", _MAKE_ONE)
    ended = token.ended(context.now())
    if ended is not None:
        raise _unauthorized(ended, f"this token opens nothing any more; {_MAKE_ONE}")
    if not context.token_rates.take(token.id):
        cure = "send fewer and larger requests, or raise KNOWGATE_TOKEN_RATE"
        raise too_often("token", f"more than {context.settings.token_rate} requests a second", cure)
    return Access(name=token.name, role=token.role, cascades=token.cascades)


def _looked_up(request: Request, context: Context, plaintext: str) -> TokenRecord | None:
    """The token of this plaintext. Raises 429 for an address that has shown so many wrong ones that
    another is not even looked up.
    """
    address = "" if request.client is None else request.client.host
    if not context.tokens.knows(plaintext) and not context.refusal_rates.has(address):
        cure = "wait a second, and show a good token; KNOWGATE_REFUSAL_RATE says how many wrong ones are looked up"
        raise too_often("authorization", "wrong too often", cure)
    token = context.tokens.token(plaintext, context.now())
    if token is None:
        context.refusal_rates.take(address)
    return token


def _clicking(request: Request, context: Context) -> Access | None:
    if context.settings.auth is Auth.OFF:
        return _of_this_machine(request, context)
    return signed_in(request, context)


def _good(request: Request, context: Context, plaintext: str) -> TokenRecord | None:
    token = _looked_up(request, context, plaintext) if plaintext else None
    return None if token is None or token.ended(context.now()) is not None else token


def _of_token(token: TokenRecord | None) -> Access | None:
    return None if token is None else Access(name=token.name, role=token.role, cascades=token.cascades)


def _of_this_machine(request: Request, context: Context) -> Access:
    require_loopback_host(request, OFF)
    return Access(name=operator(context.settings), role=TokenRole.ADMIN)


def _unauthorized(value: str, cure: str) -> ApiError:
    return ApiError(401, field="authorization", value=value, cure=cure, headers={"WWW-Authenticate": "Bearer"})
