"""What a gateway asks of its control plane before it serves: what the cascade is."""

import http.client
import json
import urllib.error
import urllib.request
from urllib.parse import quote

from knowgate import codec
from knowgate.spec import CascadeSpec
from services import addresses
from services.errors import InputInvalid, ServicesError
from services.settings import Settings

WAIT_S = 10.0
MOST_BYTES = 2**22  # of a declaration


class ControlPlaneSilent(ServicesError):
    """The control plane did not say what the cascade is."""


class CascadeNotDeclared(InputInvalid):
    """The control plane answers, and has no cascade of that name."""


def control_url(given: str | None, settings: Settings) -> str:
    """The control plane's address: as given, else that of the settings. Raises InputInvalid."""
    if given is None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return f"http://{host}:{settings.port}"
    scheme, mark, rest = given.partition("://")
    usable = addresses.is_address(f"{scheme.lower()}{mark}{rest}") and given.isascii()
    if not usable or addresses.holds_credentials(given) or set(rest) & set("?#"):  # a root has no query, no fragment
        raise InputInvalid(f"--control is {given!r}: give the control plane's address as http(s)://host[:port]")
    return given


def declared_cascade(url: str, name: str, token: str | None) -> CascadeSpec:
    """The cascade as the control plane at `url` declares it. Raises ControlPlaneSilent, CascadeNotDeclared."""
    request = urllib.request.Request(f"{url.rstrip('/')}/v1/cascades/{quote(name, safe='')}")
    if token is not None:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return codec.decode(CascadeSpec, codec.parse(answer.read(MOST_BYTES))["spec"])
    except urllib.error.HTTPError as error:
        with error:
            told = _message(error.read(2000).decode("utf-8", "replace"))
        if error.code == 404:
            raise CascadeNotDeclared(
                f"--cascade is {name!r}: {url} answered 404 ({told}); name one that it has declared"
            ) from None
        raise ControlPlaneSilent(f"{url} answered {error.code} to the question what {name} is: {told}") from None
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        raise ControlPlaneSilent(
            f"--control is {url}: it does not say what {name} is ({error}); does it run?"
        ) from None


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200]
