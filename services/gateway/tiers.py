"""What a gateway needs of its cascade: the declaration, from the control plane, and a back-end per tier.

Every tier must have an endpoint of its own here: a model in this process would make the gateway as heavy as the model.
Keys come from files or from the environment variable that the tier names, never from the declaration, which travels
everywhere.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from knowgate import codec
from knowgate.backends import Backend, from_spec
from knowgate.errors import RecordInvalid
from knowgate.records import Fingerprint
from knowgate.spec import CascadeSpec, TierSpec
from services.errors import InputInvalid, ServicesError

WAIT_S = 10.0


class ControlPlaneSilent(ServicesError):
    """The control plane did not say what the cascade is."""


def declared_cascade(url: str, name: str, token: str | None) -> CascadeSpec:
    """The cascade as the control plane at `url` declares it. Raises ControlPlaneSilent."""
    request = urllib.request.Request(f"{url.rstrip('/')}/v1/cascades/{quote(name, safe='')}")
    if token is not None:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return codec.decode(CascadeSpec, json.load(answer)["spec"])
    except urllib.error.HTTPError as error:
        with error:
            told = error.read(2000).decode("utf-8", "replace")
        raise ControlPlaneSilent(
            f"{url} answered {error.code} to the question what {name} is: {_message(told)}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ControlPlaneSilent(
            f"--control is {url}: it does not say what {name} is ({error}); does it run?"
        ) from None


def tier_backends(
    spec: CascadeSpec,
    *,
    keys: Mapping[str, str],
    fingerprints: Mapping[str, Fingerprint],
    states_folder: Path | None,
) -> tuple[Backend, ...]:
    """A back-end per tier, cheapest first; keys and fingerprints by the tiers' names. Raises InputInvalid."""
    names = [tier.name for tier in spec.tiers]
    for option, given in (("--key-file", keys), ("--fingerprint", fingerprints)):
        for name in given:
            if name not in names:
                raise InputInvalid(f"{option} names the tier {name!r}: {spec.name} has {', '.join(names)}")
    return tuple(_backend(tier, keys.get(tier.name), fingerprints.get(tier.name), states_folder) for tier in spec.tiers)


def _backend(tier: TierSpec, key: str | None, fingerprint: Fingerprint | None, folder: Path | None) -> Backend:
    if tier.backend not in ("openai", "sglang", "vllm"):
        raise InputInvalid(
            f"tier {tier.name}: backend is {tier.backend!r}: a gateway asks openai, sglang or vllm; serve the model so"
        )
    try:
        return from_spec(tier, fingerprint=fingerprint, api_key=key, folder=folder)
    except (RecordInvalid, ImportError) as error:
        raise InputInvalid(str(error)) from None


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200]
