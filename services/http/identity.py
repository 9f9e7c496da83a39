"""What a sign-in by an identity provider comes to, whichever library speaks to it: the pages know
nothing of that library, which is an extra.
"""

from dataclasses import dataclass
from typing import Protocol

from services.http.access import Access

BACK = "/sign-in/oidc/back"  # where the provider sends the browser to


class NotSignedIn(Exception):
    """Why the provider's word let nobody in; no secrets are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What the browser that begins keeps until it comes back."""

    state: str
    nonce: str
    verifier: str

    @property
    def cookie(self) -> str:
        """As its cookie holds it."""
        return f"{self.state}.{self.nonce}.{self.verifier}"

    @classmethod
    def of_cookie(cls, text: str) -> "Begun":
        """The same read again. Raises NotSignedIn."""
        parts = text.split(".")
        if len(parts) != 3 or not all(parts):
            raise NotSignedIn("this browser has not begun to sign in, or too long ago: begin again")
        return cls(state=parts[0], nonce=parts[1], verifier=parts[2])


class Identity(Protocol):
    """An identity provider."""

    def begin(self) -> tuple[str, Begun]:
        """Where to send a browser to, and what it keeps meanwhile. Raises NotSignedIn."""

    def end(self, begun: Begun, *, code: str, state: str) -> Access:
        """Who came back with a code, and what they may. Raises NotSignedIn."""
