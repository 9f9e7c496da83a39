"""What a gateway asks: a back-end per tier of its cascade.

Every tier must have an endpoint of its own here: a model in this process would make the gateway as
heavy as the model. Keys come from files or from the environment variable that the tier names, never
from the declaration, which travels everywhere.
"""

from collections.abc import Mapping
from pathlib import Path

from knowgate._records.records import Fingerprint
from knowgate.backends import Backend, from_spec
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec, TierSpec
from services.errors import InputInvalid


def tier_backends(
    spec: CascadeSpec,
    *,
    keys: Mapping[str, str],
    fingerprints: Mapping[str, Fingerprint],
    states_folder: Path | None,
) -> tuple[Backend, ...]:
    """A back-end per tier, cheapest first; keys and fingerprints by the tiers' names. Raises
    InputInvalid.
    """
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
