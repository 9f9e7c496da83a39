"""The forms' addresses by which a person acts on a cascade: one per act, looked at by whoever may
look, and acted for only who may act, from our own pages alone (`services.http.auth`).
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from services.acts import Act
from services.errors import InputInvalid, Refused
from services.http.auth import may_act, who_clicks
from services.http.bodies import Form
from services.http.context import Context, InContext
from services.pages import act_page
from services.pages.responses import LOOKS, framed, problem
from store.engine import reading
from store.errors import BundleDamaged, CascadeUnknown, GenerationMoved

router = APIRouter(include_in_schema=False, dependencies=[LOOKS])


def get_act_page(request: Request, name: str, context: InContext, bundle: str | None = None) -> Response:
    """The form of one act; with `?bundle=` that one is chosen."""
    return _form(request, context, name, typed={"bundle": bundle or ""})


def post_act(
    request: Request, name: str, form: Form, context: InContext, by: Annotated[str, Depends(who_clicks)]
) -> Response:
    """Does it, and shows the cascade; or the form again, with what speaks against it."""
    try:
        act_page.make(context.engine, context.settings, name, _act(request), form, by=by, now=context.now())
    except CascadeUnknown as error:
        return problem(request, context, str(error))
    except (InputInvalid, Refused, GenerationMoved, BundleDamaged) as error:
        status = 400 if isinstance(error, InputInvalid) else 409
        return _form(request, context, name, typed=form, message=str(error), status=status)
    return RedirectResponse(f"/cascades/{name}", status_code=303)


for _one in Act:
    router.add_api_route(f"/cascades/{{name}}/{_one.value}", get_act_page, methods=["GET"])
    router.add_api_route(f"/cascades/{{name}}/{_one.value}", post_act, methods=["POST"])


def _form(
    request: Request,
    context: Context,
    name: str,
    *,
    typed: Mapping[str, str],
    message: str | None = None,
    status: int = 200,
) -> Response:
    act, chosen = _act(request), typed.get("bundle") or None
    try:
        with reading(context.engine) as session:
            page = act_page.act_page(session, name, act, bundle=chosen, now=context.now())
    except CascadeUnknown as error:
        return problem(request, context, str(error))
    shown: dict[str, Any] = {"page": page, "message": message, "acts": may_act(request, context)}
    shown["typed"] = {field: typed.get(field, "") for field in act_page.FIELDS}
    return framed(request, context, "act.html", status=status, title=f"{page.words.do} {name}", **shown)


def _act(request: Request) -> Act:
    return Act(request.url.path.rpartition("/")[2])
