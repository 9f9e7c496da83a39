"""`/v1/tokens`: who may speak to the API, for whoever holds a token of role `admin`.

A token of some cascades sees, makes and revokes tokens of these cascades alone: none reaches
farther than the token that made it.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from knowgate._wire import codec
from services.api.openapi import body_of
from services.api.rows import require_short
from services.api.wire import TokenList, TokenMade, TokenRequest
from services.http.access import Access, InAccess
from services.http.auth import require, who_asks
from services.http.bodies import Body, parse_json, require_json
from services.http.conditional import conditional_json
from services.http.context import InContext
from services.http.new_tokens import expiry, make_token
from store.engine import reading, transaction
from store.errors import TokenUnknown
from store.tokens import NewToken, TokenRecord, TokenRole, revoke_token, token_named, tokens

router = APIRouter(tags=["tokens"])


@router.get("/v1/tokens", summary="Tokens", dependencies=[Depends(require(TokenRole.ADMIN))], response_model=TokenList)
def get_tokens(request: Request, context: InContext, access: InAccess) -> Response:
    """By name, with what they reach and when they were last used (to the minute), revoked and
    expired ones too; never the secrets.
    """
    with reading(context.engine) as session:
        listed = TokenList(tokens=tuple(token for token in tokens(session) if _within(access, token)))
    return conditional_json(request, listed)


@router.post(
    "/v1/tokens",
    summary="Make a token",
    status_code=201,
    dependencies=[Depends(require(TokenRole.ADMIN)), Depends(require_json)],
    openapi_extra=body_of("TokenRequest"),
)
def post_token(
    body: Body, response: Response, context: InContext, access: InAccess, by: Annotated[str, Depends(who_asks)]
) -> TokenMade:
    """The answer tells the secret this once: only its hash is kept. Without `cascades` it reaches
    what the asking token does. 409 where the name is taken.
    """
    document, now = parse_json(body), context.now()
    asked = codec.decode(TokenRequest, document)
    require_short(document)
    cascades = access.cascades if asked.cascades is None else asked.cascades
    access.require(*(cascades or ()))
    wanted = NewToken(
        name=asked.name,
        role=asked.role,
        cascades=cascades,
        expires_at=expiry(asked.expires_in, now),
        created_by=by,
    )
    with transaction(context.engine) as session:
        secret = make_token(session, wanted, now=now)
    response.headers["Cache-Control"] = "no-store"
    return TokenMade(name=wanted.name, role=wanted.role, cascades=cascades, expires_at=wanted.expires_at, token=secret)


@router.post(
    "/v1/tokens/{token}/revoke",
    summary="Revoke a token",
    dependencies=[Depends(require(TokenRole.ADMIN))],
)
def post_revoke(token: str, context: InContext, access: InAccess, by: Annotated[str, Depends(who_asks)]) -> TokenRecord:
    """By its name. It and the sign-ins made with it open nothing within ten seconds. 404 where none
    of that name works.
    """
    with transaction(context.engine) as session:
        found = token_named(session, token)
        if not _within(access, found) or not revoke_token(session, token, now=context.now(), by=by):
            raise TokenUnknown(token)
        return token_named(session, token)


def _within(access: Access, token: TokenRecord) -> bool:
    """Whether a token reaches nothing that `access` does not."""
    return access.cascades is None or (token.cascades is not None and set(token.cascades) <= set(access.cascades))
