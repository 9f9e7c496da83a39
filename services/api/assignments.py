"""What a runtime fetches and what it answers: the assignment in force, and its acknowledgement.

An assignment is served as a lease. The store says what is in force; how long a runtime may go on
without word from us is decided here, when it is served: `valid_until` is the start of the current
half lease plus the lease, so a fresh answer holds for at least half of KNOWGATE_ASSIGNMENT_LEASE
and at most for all of it. Within a half lease the document is the same on every process to the
byte, so its ETag holds and polling costs a 304. Nothing is written. `issued_at` stays the swap's
own, so a renewal is never older than what it renews. The signature is over the document as served.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from fastapi import APIRouter, Depends, Request, Response

from knowgate._bundles import signing
from knowgate._bundles.assignment import Assignment
from knowgate._shipping.client import Acknowledgement
from knowgate._wire import codec
from services.api.openapi import body_of
from services.api.rows import require_short
from services.http.auth import require
from services.http.bodies import Body, parse_json, require_json
from services.http.conditional import conditional_json
from services.http.context import Context, InContext
from services.http.errors import ApiError
from services.settings import Settings
from services.windows import floor_time
from store.engine import reading, transaction
from store.releases import assignments, cascades
from store.tokens import TokenRole

router = APIRouter(tags=["runtime"])


@router.get(
    "/v1/cascades/{name}/assignment",
    summary="The assignment in force",
    dependencies=[Depends(require(TokenRole.RUNTIME, TokenRole.READ))],
    response_model=None,
)
def get_assignment(request: Request, name: str, context: InContext) -> Response:
    """Which bundle decides, until when without word from here. Carries an ETag: ask with
    If-None-Match.
    """
    served = leased_assignment(context, name)
    if served is None:
        cure = "nothing is assigned yet: everything escalates until a bundle is promoted"
        raise ApiError(404, field="assignment", value=name, cure=cure)
    return conditional_json(request, served)


@router.post(
    "/v1/cascades/{name}/acknowledgements",
    summary="Acknowledge an assignment",
    dependencies=[Depends(require(TokenRole.RUNTIME)), Depends(require_json)],
    openapi_extra=body_of("Acknowledgement"),
)
def post_acknowledgement(name: str, body: Body, context: InContext) -> assignments.RuntimeState:
    """A runtime's word on an assignment: in force there, or refused and why; said again, it says
    that the runtime is there.
    """
    document = parse_json(body)
    said = codec.decode(Acknowledgement, document)
    require_short(document)
    state = assignments.RuntimeState(
        cascade=name,
        runtime=said.runtime,
        generation=said.generation,
        bundle=said.bundle,
        accepted=said.accepted,
        detail=said.reason,
        at=said.acknowledged_at,
        version=said.version,
        heard_at=context.now(),
        again_s=said.again_s,
        unshipped_bytes=said.unshipped_bytes,
        refused_rows=said.refused_rows,
    )
    with transaction(context.engine) as session:
        cascades.cascade_version(session, name)
        assignments.add_acknowledgement(session, state)
    return state


def leased_assignment(context: Context, name: str) -> Assignment | None:
    """The assignment as it is served now: renewed, and signed where a key is set. Raises
    CascadeUnknown.
    """
    with reading(context.engine) as session:
        cascades.cascade_version(session, name)
        current = assignments.assignment(session, name)
    served = leased(current, context.settings, context.now())
    key = context.settings.signing_key
    return served if served is None or key is None else signing.sign_assignment(key, served)


def leased(current: Assignment | None, settings: Settings, now: datetime) -> Assignment | None:
    """The assignment of the store, renewed until the end of the current lease, unsigned."""
    if current is None:
        return None
    return replace(current, valid_until=lease_end(now, settings.assignment_lease), signature=None)


def lease_end(now: datetime, lease: timedelta) -> datetime:
    """The end of a lease that is renewed every half lease.

    >>> lease_end(datetime.fromisoformat("2026-01-01T13:00:00+00:00"),
    ...     timedelta(hours=24)).isoformat()
    '2026-01-02T12:00:00+00:00'
    """
    half = lease / 2
    return floor_time(now, half) + lease
