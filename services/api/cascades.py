"""`GET /v1/cascades`, `/v1/cascades/{name}` and `…/labels`: what is declared, what is in force, and
what is labelled for the next certificate.
"""

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from services.acts import cascade_state
from services.api.wire import Applied, BundleLine, BundleList, CascadeDetail, CascadeList, CascadeSummary
from services.declaration.cascade_file import parse_cascade
from services.declaration.cascade_text import without_secrets
from services.http.access import InAccess
from services.http.auth import require
from services.http.bodies import Body, media_type
from services.http.conditional import conditional_json
from services.http.context import InContext
from services.http.errors import ApiError
from services.labelling.progress import LabelProgress, label_progress
from services.promotion.generations import apply_spec
from store.engine import reading, transaction
from store.errors import RecordUnreadable
from store.releases import assignments, bundles, cascades
from store.tokens import TokenRole
from store.watching import alerts

router = APIRouter(tags=["cascades"])
TOML = "application/toml"


@router.get(
    "/v1/cascades",
    summary="All cascades",
    dependencies=[Depends(require(TokenRole.READ, TokenRole.RUNTIME))],
    response_model=CascadeList,
)
def get_cascades(request: Request, context: InContext, access: InAccess) -> Response:
    """Every cascade that the token reaches, with its tiers, its champion and its open alerts."""
    with reading(context.engine) as session:
        names = filter(access.covers, cascades.cascade_names(session))
        listed = CascadeList(cascades=tuple(summary_of(session, name) for name in names))
    return conditional_json(request, listed)


@router.get(
    "/v1/cascades/{name}",
    summary="One cascade",
    dependencies=[Depends(require(TokenRole.READ, TokenRole.RUNTIME))],
    response_model=CascadeDetail,
)
def get_cascade(request: Request, name: str, context: InContext, access: InAccess) -> Response:
    """The specification in force, the assignment, and what each runtime last acknowledged.

    Whoever knows the address of a webhook may post to it: only role admin sees more of it than its
    host.
    """
    with reading(context.engine) as session:
        spec = cascades.cascade(session, name)
        detail = CascadeDetail(
            summary=summary_of(session, name),
            state=cascade_state(session, name, now=context.now()),
            spec=spec if access.role is TokenRole.ADMIN else without_secrets(spec),
            runtimes=assignments.acknowledgements(session, name),
        )
    return conditional_json(request, detail)


@router.put(
    "/v1/cascades/{name}",
    summary="Declare a cascade",
    dependencies=[Depends(require(TokenRole.ADMIN))],
    openapi_extra={"requestBody": {"required": True, "content": {TOML: {"schema": {"type": "string"}}}}},
)
def put_cascade(request: Request, name: str, body: Body, context: InContext) -> Applied:
    """Checks a `cascade.toml` and puts it in force as the cascade's next version; an unchanged one
    changes nothing. 422 with every fault, where it stands and the cure.
    """
    if media_type(request) != TOML:
        raise ApiError(415, field="content-type", value=media_type(request), cure=f"send {TOML}")
    networks = context.settings.outgoing_networks
    spec = parse_cascade(body.decode("utf-8", "replace"), name=f"{name}.toml", webhook_networks=networks)
    if spec.name != name:
        raise ApiError(422, field="name", value=spec.name, cure=f"declare {name}, or name its address")
    with transaction(context.engine) as session:
        version, changed = apply_spec(session, spec, context.settings, now=context.now())
    return Applied(cascade=name, version=version, changed=changed)


@router.get(
    "/v1/cascades/{name}/bundles",
    summary="A cascade's bundles",
    dependencies=[Depends(require(TokenRole.READ))],
    response_model=BundleList,
)
def get_bundles(request: Request, name: str, context: InContext) -> Response:
    """Newest first; `GET /v1/bundles/{bundle_id}` gives a file."""
    with reading(context.engine) as session:
        cascades.cascade_version(session, name)
        lines = tuple(
            BundleLine(id=one.id, status=one.status, created_at=one.created_at, signed=one.signature is not None)
            for one in bundles.bundles(session, name)
        )
    return conditional_json(request, BundleList(bundles=lines))


@router.get(
    "/v1/cascades/{name}/labels",
    summary="What is labelled for the next certificate, and about how much it needs",
    dependencies=[Depends(require(TokenRole.READ))],
    response_model=LabelProgress,
)
def get_labels(request: Request, context: InContext, name: str) -> Response:
    """Counted now; `sentence` says it in a line.

    `labelled` are decisions that may certify at the next attempt; with `needed` of them one is made
    before its turn. All but `sentence` is null before the first decision.
    """
    with reading(context.engine) as session:
        progress = label_progress(session, name, now=context.now())
    return conditional_json(request, progress)


def summary_of(session: Session, name: str) -> CascadeSummary:
    """A cascade in one line, without what cannot be read of it. Raises CascadeUnknown."""
    version, spec, assignment, unreadable = cascades.cascade_version(session, name), None, None, None
    try:
        spec = cascades.cascade(session, name)
        assignment = assignments.assignment(session, name)
    except RecordUnreadable as error:
        unreadable = error.cure
    return CascadeSummary(
        name=name,
        version=version,
        tiers=() if spec is None else tuple(tier.name for tier in spec.tiers),
        rule=None if spec is None else spec.targets.rule,
        generation=None if assignment is None else assignment.generation,
        mode=None if assignment is None else assignment.mode.value,
        champion=None if assignment is None else assignment.champion,
        open_alerts=len(alerts.alerts(session, name, open_only=True)),
        unreadable=unreadable,
    )
