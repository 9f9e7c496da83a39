"""Whether the process lives, whether it can do its work, and its figures for Prometheus.

Neither of the first two waits for the threads that requests are worked off in: all of them may be
waiting for a locked database, and a process that is ended for that would be no better off after its
start.
"""

import anyio.to_thread
from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse

from services.http.access import require_whole
from services.http.auth import require
from services.http.context import Context, InContext
from services.http.errors import ApiError
from services.http.heartbeat import heartbeat
from store.engine import reading
from store.tokens import TokenRole

READY_WITHIN_S = 2.0  # as long as probes commonly wait is three seconds or more

router = APIRouter(tags=["health"])
_lookers = anyio.CapacityLimiter(4)  # threads of its own: those of requests may all be taken


@router.get("/healthz", summary="The process lives")
async def get_healthz() -> dict[str, str]:
    """Answers as long as the process does; looks at nothing else."""
    return {"status": "alive"}


@router.get("/readyz", summary="The service can do its work")
async def get_readyz(context: InContext) -> dict[str, str]:
    """200 when the database answers within two seconds and its schema is the code's; 503 with the
    cure otherwise. How the scheduler stands is said beside it, and makes nothing unready.
    """
    from store import schema

    found, wanted, answered, beat = None, schema.head(), False, ""
    with anyio.move_on_after(READY_WITHIN_S):
        found = await anyio.to_thread.run_sync(schema.current, context.engine, abandon_on_cancel=True, limiter=_lookers)
        if found == wanted:
            beat = await anyio.to_thread.run_sync(_beat, context, abandon_on_cancel=True, limiter=_lookers)
        answered = True
    if not answered:
        cure = "the database is busy, locked or away; the process lives and goes on when it answers"
        raise ApiError(503, field="database", value=f"silent for {READY_WITHIN_S:g} s", cure=cure)
    if found != wanted:
        raise ApiError(503, field="schema", value=found, cure=f"the code needs {wanted}: run `knowgate db upgrade`")
    return {"status": "ready", "schema": wanted, "scheduler": beat}


def _beat(context: Context) -> str:
    with reading(context.engine) as session:
        return heartbeat(session, now=context.now()).sentence


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    dependencies=[Depends(require(TokenRole.READ)), Depends(require_whole)],
    response_class=PlainTextResponse,
)
def get_metrics(context: InContext) -> Response:
    """Counters of this process, and what the database says of every cascade, as text for
    Prometheus.
    """
    content, kind = context.metrics.exposition()
    return Response(content, headers={"Content-Type": kind})
