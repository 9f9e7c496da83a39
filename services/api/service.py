"""`/v1/jobs`, `/v1/audit/…` and `/v1/doctor`: the installation itself, for whoever is on call and
has no password of the database.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.api.wire import FindingList, RunList
from services.audit.head_export import newest_head
from services.audit.verify_newest import verify_newest
from services.errors import Refused
from services.http.access import InAccess, require_whole
from services.http.auth import require, who_asks
from services.http.conditional import conditional_json
from services.http.context import InContext
from services.upkeep.checkup import examine
from store.engine import reading, transaction
from store.jobs import job_runs
from store.ledger.verifications import VerificationRecord, add_verification
from store.releases import cascades
from store.tokens import TokenRole

router = APIRouter(tags=["service"])
WHOLE = Depends(require_whole)


@router.get(
    "/v1/jobs",
    summary="The latest windows of the jobs",
    dependencies=[Depends(require(TokenRole.READ))],
    response_model=RunList,
)
def get_jobs(
    request: Request,
    context: InContext,
    access: InAccess,
    cascade: str | None = None,
    job: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> Response:
    """Newest first, of one cascade or of all that the token reaches, of one job where it is named;
    of a training also why it was made and what came of it.
    """
    with reading(context.engine) as session:
        names = access.among(cascade)
        if cascade is not None:
            cascades.cascade_version(session, cascade)
        runs = [run for name in names for run in job_runs.job_runs(session, name, job=job, limit=limit)]
    newest = sorted(runs, key=lambda run: (run.window.end, run.started_at), reverse=True)[:limit]
    return conditional_json(request, RunList(runs=tuple(newest)))


@router.get(
    "/v1/audit/head",
    summary="The ledger's newest head",
    dependencies=[Depends(require(TokenRole.READ)), WHOLE],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "A checkpoint, signed where a key is set."}},
)
def get_head(context: InContext) -> Response:
    """What all batches that are sealed so far lead to. 409 before the first."""
    with reading(context.engine) as session:
        head = newest_head(session, context.settings)
    return Response(head.note, media_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})


@router.post(
    "/v1/audit/verify",
    summary="Verify what was sealed since the last verification",
    dependencies=[Depends(require(TokenRole.OPERATOR)), WHOLE],
)
def post_verify(context: InContext, by: Annotated[str, Depends(who_asks)]) -> VerificationRecord:
    """What was looked at and found, kept in the ledger. 409 where nothing was sealed since the last
    one.
    """
    with reading(context.engine) as session:
        made = verify_newest(session, by=by, now=context.now())
    if made is None:
        raise Refused("nothing was sealed since the last verification")
    with transaction(context.engine) as session:
        add_verification(session, made)
    return made


@router.get(
    "/v1/doctor",
    summary="What is wrong with this deployment",
    dependencies=[Depends(require(TokenRole.OPERATOR)), WHOLE],
    response_model=FindingList,
)
def get_doctor(context: InContext) -> FindingList:
    """What `knowgate doctor` finds from where this process runs, with the cure of each."""
    return FindingList(findings=examine(context.settings, now=context.now()))
