"""`POST /v1/decide`: signals in, verdict out, for gateways in any language.

The gateway runs the models; it asks here after each tier's attempt, serves or escalates as
answered, and ships the decision to `POST /v1/decisions` when it is through. Nothing is stored by
this call. A signal that is missing or makes no sense escalates, as it does in a runtime: a fault
may cost money, never accuracy.
"""

import base64
import binascii
import math
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._records.ids import new_id
from knowgate._records.records import LIMITS
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from services.api.assignments import leased
from services.api.openapi import body_of
from services.api.rows import require_short
from services.api.wire import DecideAnswer, DecideRequest
from services.http.access import InAccess
from services.http.auth import require
from services.http.bodies import Body, parse_json, require_json
from services.http.context import Context, InContext
from store.engine import reading
from store.errors import RecordUnreadable
from store.releases import assignments, cascades
from store.tokens import TokenRole

router = APIRouter(tags=["decisions"])


@router.post(
    "/v1/decide",
    summary="Rule on one attempt",
    dependencies=[Depends(require(TokenRole.INGEST)), Depends(require_json)],
    openapi_extra=body_of("DecideRequest"),
)
def post_decide(body: Body, context: InContext, access: InAccess) -> DecideAnswer:
    """Whether to keep the answer of a non-last tier, by the bundle that is in force.

    `explore` true asks for one more thing: run the last tier as well, serve what was retained, and
    log the second answer as an attempt with role `exploration`. Give the same `decision_id` for all
    tiers of one query.

    With `early` it is asked before the tier has answered, by what it showed of the prompt: at
    `escalate` nothing is to be generated (log role `skipped` with this verdict, and
    `exploration_rate` as its `run_propensity` where that is above 0), at `not_yet` the tier is to
    answer. `explore` true beside `escalate` asks it to answer all the same, unserved, with role
    `exploration`, the same verdict and the same `run_propensity`.
    """
    document = parse_json(body, finite=False)
    unusable = _set_aside(document) if isinstance(document, dict) else {}
    asked = codec.decode(DecideRequest, document)
    access.require(asked.cascade)
    require_short({**document, "hidden_base64": None})
    now = context.now()
    with reading(context.engine) as session:
        assignment, models, unread = _in_force(session, asked, context, now)
        sidecar = context.sidecars.cascade(session, asked.cascade, assignment, models)
    ruling = sidecar.cascade.decide(
        replace(asked, **{"hidden": _hidden(asked)} | unusable),
        tier=asked.tier,
        decision_id=asked.decision_id or new_id(now),
        slice=asked.slice,
        now=now,
        early=asked.early,
    )
    verdict = ruling.verdict
    context.metrics.count_verdict(
        asked.cascade, verdict.action.value, "" if verdict.reason is None else verdict.reason.value
    )
    return DecideAnswer(
        cascade=asked.cascade,
        decision_id=ruling.decision_id,
        tier=asked.tier,
        action=verdict.action,
        reason=verdict.reason,
        gates=verdict.gates,
        fallback=verdict.fallback,
        signals=ruling.signals,
        fault=ruling.fault,
        generation=ruling.generation,
        bundle=ruling.bundle,
        explore=ruling.explore,
        exploration_rate=ruling.exploration_rate,
        note="; ".join(one for one in (unread, sidecar.fault, ruling.note) if one) or None,
    )


def _in_force(
    session: Session, asked: DecideRequest, context: Context, now: datetime
) -> tuple[Assignment | None, tuple[str, ...], str | None]:
    """The assignment, the declared models, and why they cannot be read, so that everything
    escalates.

    Raises RecordInvalid for the tier.
    """
    try:
        spec = cascades.cascade(session, asked.cascade)
        assignment = assignments.assignment(session, asked.cascade)
    except RecordUnreadable as error:
        return None, (), str(error)
    if not 0 <= asked.tier < spec.last:
        cure = f"{spec.name} decides at tiers 0 to {spec.last - 1}; the last tier's answer is always kept"
        raise RecordInvalid("tier", asked.tier, cure)
    models = tuple(tier.named_model for tier in spec.tiers)
    return leased(assignment, context.settings, now), models, None


def _set_aside(document: dict[str, Any]) -> dict[str, Any]:
    """Takes the signals out that hold NaN or infinity, so that the rest is decoded: to the runtime
    they are missing.
    """
    odd: dict[str, Any] = {}
    for name in ("p_t", *LIMITS):
        value = document.get(name)
        if isinstance(value, float) and not math.isfinite(value):
            odd[name], document[name] = value, None
    state = document.get("hidden")
    numbers = [item for item in state if isinstance(item, (int, float))] if isinstance(state, list) else []
    if any(isinstance(item, float) and not math.isfinite(item) for item in numbers) and len(numbers) == len(
        state or ()
    ):
        odd["hidden"], document["hidden"] = np.array(numbers), None
    return odd


def _hidden(asked: DecideRequest) -> npt.NDArray[np.float16] | npt.NDArray[np.float64] | None:
    """The hidden state [d], in whichever of the two forms it was sent. Raises RecordInvalid."""
    if asked.hidden_base64 is None:
        return None if asked.hidden is None else np.asarray(asked.hidden, dtype=np.float64)
    if asked.hidden is not None:
        raise RecordInvalid("hidden_base64", "given beside hidden", "send the hidden state once")
    try:
        content = base64.b64decode(asked.hidden_base64, validate=True)
        return np.frombuffer(content, dtype="<f2")
    except (binascii.Error, ValueError):
        length = f"{len(asked.hidden_base64)} characters"
        raise RecordInvalid("hidden_base64", length, "base64 of little-endian float16 values is expected") from None
