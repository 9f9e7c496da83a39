"""What a gateway asks of its control plane before it serves: what the cascade is."""

from knowgate._shipping.client import Client
from knowgate.errors import ServiceUnreachable
from knowgate.spec import CascadeSpec
from services import addresses
from services.errors import InputInvalid, ServicesError
from services.settings import Settings


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
    if not usable or addresses.holds_credentials(given) or not addresses.is_root(given):
        raise InputInvalid(f"--control is {given!r}: give the control plane's address as http(s)://host[:port]")
    return given


def declared_cascade(url: str, name: str, token: str | None) -> CascadeSpec:
    """The cascade as the control plane at `url` declares it. Raises ControlPlaneSilent,
    CascadeNotDeclared.
    """
    try:
        return Client(url, token).cascade_spec(name)
    except ServiceUnreachable as error:
        if error.status == 404:
            raise CascadeNotDeclared(f"--cascade is {name!r}: {error}; name one that it has declared") from None
        raise ControlPlaneSilent(
            f"--control is {url}: it does not say what {name} is ({error}); does it run?"
        ) from None
