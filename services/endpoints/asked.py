"""One OpenAI-compatible endpoint, asked from the command line: documents out, or one kind of
error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from knowgate._wire.shown import shown_url
from knowgate._wire.strict_json import parse
from knowgate.backends.protocol import CHAT
from knowgate.errors import RecordInvalid
from services import addresses
from services.errors import EndpointFailed, InputInvalid

TIMEOUT_S = 120.0  # a first answer may have to wait for the model to be loaded
SHOWN = 200  # characters of an answer that a message shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`url` is the API's root, e.g. http://host:8000/v1."""

    url: str
    client: httpx2.Client
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if addresses.holds_credentials(self.url):
            raise InputInvalid("the endpoint is (not shown): it holds user or password; give the key in a file")
        fault = addresses.fault_of_root(self.url)
        if fault is not None:
            raise InputInvalid(f"the endpoint is {shown_url(self.url)!r}: {fault}")

    @property
    def root(self) -> str:
        return self.url.rstrip("/")

    def chat(self, body: Mapping[str, Any]) -> httpx2.Response:
        """The answer to a chat completion, whatever its status. Raises EndpointFailed."""
        return self._request("POST", self.root + CHAT, json=dict(body))

    def below(self, path: str) -> Any:
        """The JSON document at a path of the API; None where there is none."""
        return self._document(self.root + path)

    def beside(self, paths: Sequence[str]) -> Any:
        """The first JSON document at one of these paths of the server itself; None where none has
        one.
        """
        server = self.root.removesuffix("/v1")
        documents = (self._document(server + path) for path in paths)
        return next((document for document in documents if isinstance(document, dict)), None)

    def _document(self, address: str) -> Any:
        answer = self._request("GET", address)
        try:
            return parse(answer.content, finite=False) if answer.is_success else None
        except RecordInvalid:
            return None

    def _request(self, method: str, address: str, **content: Any) -> httpx2.Response:
        head = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        try:
            return self.client.request(method, address, headers=head, timeout=TIMEOUT_S, **content)
        except httpx2.HTTPError as error:
            raise EndpointFailed(
                f"{shown_url(address)} gave no answer ({error!r}); check the address, and that the server runs"
            ) from error


def refusal(answer: httpx2.Response) -> str:
    """A refusal of an endpoint in one line."""
    return f"{answer.status_code}: {' '.join(answer.text.split())[:SHOWN] or 'without a word'}"
