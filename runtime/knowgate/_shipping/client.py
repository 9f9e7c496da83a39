"""The runtime's side of the HTTP API: what is sent to the control plane, what is fetched from it.

Standard library only, and imported only when a request is made, so that `import knowgate` stays
light. Anything but a 2xx answer is a ServiceUnreachable that shows the service's own JSON error and
carries the status. Redirects are not followed: the token must not travel to another host. The token
is never logged, shown or put into a message.

Bodies carry their digest both ways. What was changed on its way counts as no answer, and is asked
or sent again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import numpy as np
from safetensors.numpy import save

from knowgate._models.features import Float16Array
from knowgate._records.receipts import Rejected, Undeclared
from knowgate._records.records import Decision, Label
from knowgate._wire import codec
from knowgate._wire.digests import CONTENT_DIGEST, content_digest, is_as_sent
from knowgate.errors import KnowgateError, RecordInvalid, ServiceUnreachable
from knowgate.spec import CascadeSpec

T = TypeVar("T", Rejected, Undeclared)

JSON_MEDIA_TYPE = "application/json"
VECTORS_MEDIA_TYPE = "application/vnd.knowgate.safetensors"
SIGNATURE_HEADER = "Knowgate-Signature"
CHANGED = "what was answered is not what the service sent: it was changed on its way; it is asked again"
MAX_ERROR_BYTES = 2**16
MAX_ANSWER_BYTES = 256 * 2**20  # larger answers are refused before they fill the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the service did with a batch. All but the rejected rows are committed."""

    stored: int
    duplicates: int
    waiting: int = 0  # labels that came before their decision
    rejected: tuple[Rejected, ...] = ()
    undeclared: tuple[Undeclared, ...] = ()  # stored all the same
    ambiguous: tuple[str, ...] = ()  # labels' external ids that several decisions share; one of them was taken
    vectors_dropped: int = 0  # hidden states with NaN or infinity; their decisions were stored without them


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A runtime's word on one assignment: in force, or refused and why; and how the runtime is.

    A service from before the last four fields refuses them, and gets the message without.
    """

    runtime: str
    generation: int
    bundle: str | None  # the champion's id
    accepted: bool
    reason: str | None
    acknowledged_at: datetime
    version: str | None = None  # of this wheel
    again_s: float | None = None  # so often, in seconds, it says at least that it is there
    unshipped_bytes: int | None = None  # that the spool holds and the service does not have
    refused_rows: int | None = None  # since it started: by a full spool, or by the service


_ADDED = ("version", "again_s", "unshipped_bytes", "refused_rows")
_UNKNOWN_FIELD = frozenset({400, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A body with its ETag and, for bundles, the detached signature (hex Ed25519 over the id)."""

    content: bytes
    etag: str | None
    signature: str | None


class Client:
    """One control plane, as one bearer token sees it.

    `url` is http(s)://host[:port][/prefix]; `timeout_s` bounds every wait on the socket.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise RecordInvalid("url", url, "give http(s)://host[:port]")
        if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
            raise RecordInvalid("token", "(not shown)", "a token is printable ASCII without spaces")
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._token = token

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def send_decisions(
        self, decisions: Sequence[Decision], vectors: Mapping[int, Float16Array] | None = None
    ) -> Receipt:
        """Hands over a batch; returns once the service has committed it.

        `vectors[tier]` is fp16 [n, d]; an attempt's `vector` is a row of its own tier's array.
        Raises ServiceUnreachable.
        """
        rows = [codec.encode(decision) for decision in decisions]
        if vectors:
            tensors = {f"vectors/{tier}": np.ascontiguousarray(array) for tier, array in vectors.items()}
            body = save(tensors, metadata={"decisions": json.dumps(rows)})
            return _receipt(self._call("POST", "/v1/decisions", body=body, media_type=VECTORS_MEDIA_TYPE).content)
        return _receipt(self._post("/v1/decisions", {"decisions": rows}))

    def send_labels(self, labels: Sequence[Label]) -> Receipt:
        """Hands over labels; returns once the service has committed them. Raises
        ServiceUnreachable.
        """
        return _receipt(self._post("/v1/labels", {"labels": [codec.encode(label) for label in labels]}))

    def assignment(self, cascade: str, etag: str | None = None) -> Fetched | None:
        """The assignment's JSON document; None when it is still the one of `etag`. Raises
        ServiceUnreachable.
        """
        headers = {} if etag is None else {"If-None-Match": etag}
        try:
            return self._call("GET", f"/v1/cascades/{quote(cascade, safe='')}/assignment", headers=headers)
        except ServiceUnreachable as error:
            if error.status == 304 and etag is not None:
                return None
            raise

    def cascade_spec(self, cascade: str) -> CascadeSpec:
        """The cascade as it is declared: what `Cascade.run_tiers` takes. Raises
        ServiceUnreachable.
        """
        content = self._call("GET", f"/v1/cascades/{quote(cascade, safe='')}").content
        try:
            return codec.decode(CascadeSpec, codec.parse(content)["spec"])
        except (KnowgateError, KeyError, TypeError) as error:
            raise ServiceUnreachable(
                f"{self.url}: the declaration of {cascade!r} cannot be read ({error!r}); is the runtime as new as it?"
            ) from error

    def bundle(self, bundle_id: str) -> Fetched:
        """A bundle's file, unverified. Raises ServiceUnreachable."""
        return self._call("GET", f"/v1/bundles/{quote(bundle_id, safe='')}")

    def acknowledge(self, cascade: str, acknowledgement: Acknowledgement) -> None:
        """Tells the service what became of an assignment here. Raises ServiceUnreachable."""
        path = f"/v1/cascades/{quote(cascade, safe='')}/acknowledgements"
        document = codec.encode(acknowledgement)
        try:
            self._post(path, document)
        except ServiceUnreachable as error:
            if error.status not in _UNKNOWN_FIELD:
                raise
            self._post(path, {name: value for name, value in document.items() if name not in _ADDED})

    def _post(self, path: str, document: object) -> bytes:
        return self._call("POST", path, body=json.dumps(document).encode(), media_type=JSON_MEDIA_TYPE).content

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        media_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        import http.client
        import urllib.error
        import urllib.request

        request = urllib.request.Request(self.url + path, data=body, method=method, headers=dict(headers or {}))
        if media_type is not None:
            request.add_header("Content-Type", media_type)
        if body is not None:
            request.add_header(CONTENT_DIGEST, content_digest(body))
        if self._token is not None:
            # Unredirected: should a redirect ever be followed, the token stays behind.
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.build_opener(_no_redirects()).open(request, timeout=self.timeout_s) as answer:
                content = answer.read(MAX_ANSWER_BYTES + 1)
                etag, signature = answer.headers.get("ETag"), answer.headers.get(SIGNATURE_HEADER)
                as_sent = is_as_sent(answer.headers.get(CONTENT_DIGEST), content)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(f"{method} {self.url}{path}", error) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnreachable(
                f"{method} {self.url}{path} got no answer: {error}; check url and network"
            ) from error
        if len(content) > MAX_ANSWER_BYTES:
            raise ServiceUnreachable(f"{method} {self.url}{path} was answered with more than {MAX_ANSWER_BYTES} bytes")
        if as_sent is False:
            raise ServiceUnreachable(f"{method} {self.url}{path}: {CHANGED}")
        return Fetched(content=content, etag=etag, signature=signature)


def _no_redirects() -> Any:
    import urllib.request

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object, **__: object) -> None:
            return None

    return NoRedirects()


def _refusal(asked: str, error: Any) -> ServiceUnreachable:
    """An answer other than 2xx, with the service's own words, or the start of what came. Its status
    is believed where the answer is as it was sent, and says what the service says with such a
    status.
    """
    try:
        content = error.read(MAX_ERROR_BYTES)
    except OSError:
        return ServiceUnreachable(f"{asked} was answered {error.code}: {error.reason}", status=error.code, unsure=True)
    as_sent = is_as_sent(error.headers.get(CONTENT_DIGEST), content)
    text = content.decode("utf-8", "replace")
    try:
        message = str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = text[:200].strip() or str(error.reason)
        as_sent = False if as_sent else as_sent  # a status that does not go with its answer was changed on its way
    if as_sent is False and error.code != 304:
        return ServiceUnreachable(f"{asked}: {CHANGED}")
    return ServiceUnreachable(
        f"{asked} was answered {error.code}: {message}", status=error.code, unsure=as_sent is None
    )


def _receipt(content: bytes) -> Receipt:
    try:
        document = codec.parse(content)
        return Receipt(
            stored=int(document["stored"]),
            duplicates=int(document["duplicates"]),
            waiting=int(document.get("waiting", 0)),
            rejected=tuple(_known(Rejected, row) for row in document.get("rejected", ())),
            undeclared=tuple(_known(Undeclared, row) for row in document.get("undeclared", ())),
            ambiguous=tuple(str(row["external_id"]) for row in document.get("ambiguous", ())),
            vectors_dropped=int(document.get("vectors_dropped", 0)),
        )
    except (KnowgateError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServiceUnreachable(
            f"the service's receipt cannot be read ({error!r}); is the url a knowgate's?"
        ) from error


def _known(kind: type[T], document: Mapping[str, object]) -> T:
    """A record without what a newer service says beside it."""
    names = {field.name for field in fields(kind)}
    return codec.decode(kind, {name: value for name, value in document.items() if name in names})
