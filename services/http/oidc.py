"""Sign-in by an identity provider: OpenID Connect's authorization code with PKCE, by Authlib.

The provider says who it is; KNOWGATE_OIDC_ROLES says what they may. What this side must remember
between the two steps (state, nonce, the verifier of PKCE) stays in a short-lived cookie of the
browser that began, so any process may take the second step. The provider is asked through the one
checked client, its answers only over TLS but on this machine, and only signatures by public keys
count.
"""

import hmac
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
from authlib.common.security import generate_token
from authlib.integrations.base_client.sync_openid import OpenIDMixin
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from joserfc.errors import JoseError

from knowgate._wire.shown import masked
from knowgate.backends.checked import checked_client
from services.http.access import Access
from services.http.identity import BACK, Begun, NotSignedIn
from services.http.new_tokens import LONGEST_NAME
from services.settings import Settings, is_safe
from store.tokens import TokenRole

log = logging.getLogger("knowgate.api")

TIMEOUT_S = 10.0
KNOWN_FOR_S = 3600.0  # until the provider is asked again what it is
_SIGNATURES = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
_NAMES = ("preferred_username", "email", "sub")


class Provider(OpenIDMixin):  # type: ignore[misc]
    """One identity provider, as the settings name it. Shared between threads."""

    def __init__(self, settings: Settings, *, tick: Callable[[], float] = time.monotonic) -> None:
        assert settings.oidc_issuer is not None and settings.oidc_client_id is not None
        assert settings.public_url is not None
        self.client_id = settings.oidc_client_id
        self.server_metadata: dict[str, Any] = {}
        self._settings = settings
        self._issuer = settings.oidc_issuer.rstrip("/")
        self._back = settings.public_url.rstrip("/") + BACK
        self._tick = tick
        self._known_until = 0.0
        self._lock = threading.Lock()

    def begin(self) -> tuple[str, Begun]:
        """The provider's address to send a browser to, and what that browser keeps. Raises
        NotSignedIn where the provider does not answer.
        """
        begun = Begun(state=generate_token(32), nonce=generate_token(32), verifier=generate_token(64))
        with self._asking() as client:
            address = self.load_server_metadata()["authorization_endpoint"]
            url, _ = client.create_authorization_url(
                address, state=begun.state, nonce=begun.nonce, code_verifier=begun.verifier
            )
        return str(url), begun

    def end(self, begun: Begun, *, code: str, state: str) -> Access:
        """Who came back with a code, and what they may. Raises NotSignedIn."""
        if not hmac.compare_digest(begun.state.encode(), state.encode()):
            raise NotSignedIn("what came back belongs to another sign-in: begin again")
        with self._asking() as client:
            token = client.fetch_token(
                self.load_server_metadata()["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                redirect_uri=self._back,
                code_verifier=begun.verifier,
            )
            claims = self.parse_id_token(token, begun.nonce)
            if claims is None:
                raise NotSignedIn("the identity provider sent no ID token")
            return self._access(claims) or self._access(self._more(client, token, claims)) or _nobody(claims)

    def load_server_metadata(self) -> dict[str, Any]:
        """What the provider says of itself, asked at most once an hour."""
        with self._lock:
            if self._tick() >= self._known_until:
                self.server_metadata = self._metadata()
                self._known_until = self._tick() + KNOWN_FOR_S
            return self.server_metadata

    def fetch_jwk_set(self, force: bool = False) -> Any:
        """The keys that it signs with; with `force` asked for anew."""
        said = self.load_server_metadata()
        if force or "jwks" not in said:
            said["jwks"] = self._get(said["jwks_uri"])
        return said["jwks"]

    def _metadata(self) -> dict[str, Any]:
        said: dict[str, Any] = self._get(f"{self._issuer}/.well-known/openid-configuration")
        if str(said.get("issuer")).rstrip("/") != self._issuer:
            raise NotSignedIn("the identity provider calls itself by another name than KNOWGATE_OIDC_ISSUER")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
            if name in said and not is_safe(str(said[name])):
                raise NotSignedIn(f"the identity provider's {name} is no https address")
        signatures = said.get("id_token_signing_alg_values_supported", ["RS256"])
        return said | {"id_token_signing_alg_values_supported": sorted(_SIGNATURES.intersection(signatures))}

    def _get(self, url: str, **given: Any) -> Any:
        with checked_client(self._settings.outgoing_networks, timeout=TIMEOUT_S) as http:
            answer = http.get(url, **given)
        answer.raise_for_status()
        return answer.json()

    @contextmanager
    def _asking(self) -> Iterator["_Asking"]:
        """Authlib's client; what goes wrong while it is at work is NotSignedIn."""
        secret = self._settings.oidc_client_secret
        try:
            with checked_client(self._settings.outgoing_networks, timeout=TIMEOUT_S) as http:
                yield _Asking(
                    http,
                    client_id=self.client_id,
                    client_secret=secret,
                    token_endpoint_auth_method=None if secret is None else _method(self.load_server_metadata()),
                    scope=self._settings.oidc_scopes,
                    redirect_uri=self._back,
                    code_challenge_method="S256",
                )
        except (httpx2.HTTPError, OAuth2Error, JoseError, ValueError, KeyError, RuntimeError) as error:
            log.warning("a sign-in by %s failed: %s", self._issuer, masked(f"{type(error).__name__}: {error}"))
            raise NotSignedIn(
                "the identity provider could not be asked, or did not vouch for it; see our log"
            ) from error

    def _more(self, client: "_Asking", token: Mapping[str, Any], claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """The claims with those that the provider tells apart from the ID token."""
        address = self.load_server_metadata().get("userinfo_endpoint")
        if address is None or "access_token" not in token:
            return {}
        said: dict[str, Any] = self._get(address, headers={"Authorization": f"Bearer {token['access_token']}"})
        if said.get("sub") != claims["sub"]:
            raise NotSignedIn("the identity provider speaks of another person than its ID token is of")
        return {**claims, **said}

    def _access(self, claims: Mapping[str, Any]) -> Access | None:
        """By the first rule that fits."""
        rule = next((one for one in self._settings.oidc_roles if one.fits(claims)), None)
        return (
            None if rule is None else Access(name=_name_of(claims), role=TokenRole(rule.role), cascades=rule.cascades)
        )


class _Asking(OAuth2Client):  # type: ignore[misc]
    """Authlib's client of OAuth over the checked client of HTTP."""

    def _fetch_token(self, url: str, body: str = "", headers: Any = None, auth: Any = None, **_: Any) -> Any:
        url, headers, body = auth.prepare("POST", url, dict(headers or {}), body)
        return self.parse_response_token(self.session.post(url, content=body.encode(), headers=headers))


def _method(said: Mapping[str, Any]) -> str:
    """How this side shows its secret: as the provider takes it."""
    taken = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return "client_secret_basic" if "client_secret_basic" in taken else "client_secret_post"


def _name_of(claims: Mapping[str, Any]) -> str:
    """Under which a person's acts are recorded."""
    return next(str(claims[name])[:LONGEST_NAME] for name in _NAMES if claims.get(name))


def _nobody(claims: Mapping[str, Any]) -> Access:
    raise NotSignedIn(f"{_name_of(claims)} is known to the identity provider, but no rule of KNOWGATE_OIDC_ROLES fits")
