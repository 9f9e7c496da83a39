"""Whether the process lives, whether it can do its work, and its figures for Prometheus."""

from fastapi import APIRouter, Depends, Response

from services.api.auth import require
from services.api.context import InContext
from services.api.errors import ApiError
from store.tokens import TokenRole

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process lives")
def get_healthz() -> dict[str, str]:
    """Answers as long as the process does; looks at nothing else."""
    return {"status": "alive"}


@router.get("/readyz", summary="The service can do its work")
def get_readyz(context: InContext) -> dict[str, str]:
    """200 when the database answers and its schema is the code's; 503 with the cure otherwise."""
    from store import schema

    found, wanted = schema.current(context.engine), schema.head()
    if found != wanted:
        raise ApiError(503, field="schema", value=found, cure=f"the code needs {wanted}: run `knowgate db upgrade`")
    return {"status": "ready", "schema": wanted}


@router.get("/metrics", summary="Figures for Prometheus", dependencies=[Depends(require(TokenRole.READ))])
def get_metrics(context: InContext) -> Response:
    """Counters of this process, and what the database says of every cascade, as text for Prometheus."""
    content, kind = context.metrics.exposition(context.engine)
    return Response(content, headers={"Content-Type": kind})
