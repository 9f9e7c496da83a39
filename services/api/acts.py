"""`/v1/cascades/{name}/stop`, `…/resume` and the rest: what a person does with a cascade, each act
an address of its own. The answer is where the cascade stands then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends

from knowgate._wire import codec
from services.acts import Act, Asked, CascadeState, carry_out, cascade_state, freeze_until
from services.api.openapi import body_of
from services.api.wire import (
    BundleActRequest,
    CascadeActRequest,
    FreezeRequest,
    PromoteRequest,
    ResumeRequest,
    RollbackRequest,
    TrainRequest,
)
from services.http.auth import require, who_asks
from services.http.bodies import Body, parse_json, require_json
from services.http.context import InContext
from store.engine import transaction
from store.tokens import TokenRole

router = APIRouter(tags=["cascades"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """One act as the API has it."""

    body: type[CascadeActRequest]
    summary: str
    about: str
    status: int = 200


def _asked(body: CascadeActRequest, by: str, now: datetime) -> Asked:
    said = {field.name: getattr(body, field.name) for field in fields(body)}
    if isinstance(body, RollbackRequest):
        said["bundle"] = said.pop("to")
    if isinstance(body, FreezeRequest):
        said["until"] = freeze_until(said.pop("duration"), body.until, now)
    return Asked(by=by, **said)


ADDRESSES: Mapping[Act, _Address] = {
    Act.STOP: _Address(
        body=CascadeActRequest,
        summary="Stop a cascade",
        about="Nothing is kept from now on: every query goes to the last tier, until a person resumes or promotes. "
        "409 where a person stopped it already.",
    ),
    Act.OBSERVE: _Address(
        body=CascadeActRequest,
        summary="Put a cascade back to be observed",
        about="Nothing is kept from now on: the last tier answers at once, and the others run beside it on a share "
        "of the queries. 409 where a person did so already.",
    ),
    Act.RESUME: _Address(
        body=ResumeRequest,
        summary="Switch a cascade on that is stopped or observed",
        about="Its champion decides again, or, where it has none, the newest certified bundle. 409 where something "
        "decides, where nothing is certified, and where a risk alarm condemned it and `despite_alarm` does not say "
        "why it is wanted all the same.",
    ),
    Act.ROLLBACK: _Address(
        body=RollbackRequest,
        summary="Put a former champion back in force",
        about="The one before the present; with `past_condemned` the newest that is not condemned; or `to`, by its "
        "id or the start of it. 409 where there is none, and where that one is condemned and `despite_alarm`, "
        "which needs `to`, does not say why it is wanted all the same.",
    ),
    Act.PROMOTE: _Address(
        body=PromoteRequest,
        summary="Put a certified bundle in force",
        about="On a person's word: what the promotion check says is kept beside the reason. 409 for one without a "
        "certificate, one of another cascade, the one that decides, and a condemned one without `despite_alarm`.",
    ),
    Act.APPROVE: _Address(
        body=BundleActRequest,
        summary="Approve a challenger that waits",
        about="It is checked again and comes into force. 409 where it does not pass.",
    ),
    Act.DECLINE: _Address(
        body=BundleActRequest,
        summary="Decline a challenger that waits",
        about="It is refused, and no job judges it again. 409 where it does not wait.",
    ),
    Act.TRAIN: _Address(
        body=TrainRequest,
        summary="Ask for a training now",
        about="The scheduler begins it at its next tick. 409 where one is under way or asked for already, and where "
        "so few decisions are labelled that it could show nothing, unless you `insist`.",
        status=202,
    ),
    Act.FREEZE: _Address(
        body=FreezeRequest,
        summary="Let no job put anything in force until a time",
        about="For a `duration`, such as 2d, or `until` a time. What stops a cascade acts all the same, and so does "
        "a person. A later freeze takes the place of an earlier one.",
    ),
    Act.UNFREEZE: _Address(
        body=CascadeActRequest,
        summary="End a freeze before its time",
        about="409 where there is none.",
    ),
}


def _route(act: Act, address: _Address) -> Callable[..., CascadeState]:
    def post(name: str, body: Body, context: InContext, by: Annotated[str, Depends(who_asks)]) -> CascadeState:
        now = context.now()
        asked = _asked(codec.decode(address.body, parse_json(body)), by, now)
        with transaction(context.engine) as session:
            carry_out(session, context.settings, name, act, asked, now=now)
            return cascade_state(session, name, now=now)

    return post


for _act, _address in ADDRESSES.items():
    router.add_api_route(
        f"/v1/cascades/{{name}}/{_act.value}",
        _route(_act, _address),
        methods=["POST"],
        name=f"post_{_act.value}",
        summary=_address.summary,
        description=f"{_address.about}\n\nKept with the token's name and the reason, and sealed in the ledger.",
        status_code=_address.status,
        dependencies=[Depends(require(TokenRole.OPERATOR)), Depends(require_json)],
        openapi_extra=body_of(_address.body.__name__),
    )
