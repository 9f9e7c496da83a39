"""`GET /v1/bundles/{id}`: a bundle's file, which never changes, with its detached signature."""

from fastapi import APIRouter, Depends, Request, Response

from knowgate._bundles import signing
from knowgate._shipping.client import SIGNATURE_HEADER
from services.http.access import InAccess
from services.http.auth import require
from services.http.conditional import conditional
from services.http.context import InContext
from store.engine import reading
from store.errors import BundleUnknown
from store.releases import bundles
from store.tokens import TokenRole

router = APIRouter(tags=["runtime"])
FOR_EVER = "private, max-age=31536000, immutable"


@router.get(
    "/v1/bundles/{bundle_id}",
    summary="A bundle's file",
    dependencies=[Depends(require(TokenRole.RUNTIME, TokenRole.READ))],
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The safetensors file."}},
)
def get_bundle(request: Request, bundle_id: str, context: InContext, access: InAccess) -> Response:
    """The file whose SHA-256 is the id. With a signing key set, `Knowgate-Signature` is Ed25519
    over the id.
    """
    with reading(context.engine) as session:
        record = bundles.bundle(session, bundle_id)
        access.require_sight(record.cascade, BundleUnknown(bundle_id))
        content = bundles.bundle_content(session, bundle_id)
    headers = {"Cache-Control": FOR_EVER}
    key = context.settings.signing_key
    signature = record.signature if key is None else signing.sign_bundle(key, bundle_id)
    if signature is not None:
        headers[SIGNATURE_HEADER] = signature
    return conditional(request, content, media_type="application/octet-stream", etag=bundle_id, headers=headers)
