"""What the records of a cascade allow and a file must not say: what would be stored and then fail,
or tell nothing.

The records keep what every floor relies on; here is what only whoever writes a declaration can put
right.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from knowgate._records.receivers import Receiver, ReceiverKind
from knowgate._wire.networks import PRIVATE, fault_of_host
from knowgate._wire.shown import MARK, shown_url
from knowgate.spec import Alarms, CascadeSpec, Horizons, Targets, TierSpec
from services import addresses

BACKENDS = ("external", "transformers", "openai", "vllm", "sglang")
REMOTE = ("openai", "vllm", "sglang")
LARGEST_ALPHA = 0.5  # an alarm that is false more often than a coin tells nothing
KEY_INSTEAD = "name the variable of its key in api_key_variable"
Fault = tuple[str, object, str]  # field, value, cure


def _of_tier(tier: TierSpec) -> Iterator[Fault]:
    for name in ("name", "model"):
        if not getattr(tier, name).strip():
            yield name, getattr(tier, name), f"give the tier's {name}"
    if tier.backend not in BACKENDS:
        yield "backend", tier.backend, f"use one of {', '.join(BACKENDS)}"
    if tier.backend in REMOTE and tier.endpoint is None:
        yield "endpoint", None, f"backend {tier.backend} is asked somewhere: give its root, e.g. http://host:8000/v1"
    if tier.endpoint is not None:
        yield from _of_address("endpoint", tier.endpoint, KEY_INSTEAD)
        if not addresses.is_root(tier.endpoint):
            yield "endpoint", shown_url(tier.endpoint), f"{addresses.ROOT_EXPECTED}; {KEY_INSTEAD}"
    if any(layer < 0 for layer in tier.layers):
        yield "layers", list(tier.layers), "layers count from 0, the embedding output"
    if len(set(tier.layers)) != len(tier.layers):
        yield "layers", list(tier.layers), "name every layer once"
    sinces = [price.since for price in tier.prices]
    if len(set(sinces)) != len(sinces):
        cure = "two prices hold from the same time, so that one is never asked: keep one of them"
        yield "prices", [since.isoformat() for since in sinces], cure


def _of_horizons(horizons: Horizons) -> Iterator[Fault]:
    if not horizons.sources:
        yield "sources", [], "name at least one source of labels"
    if len(set(horizons.sources)) != len(horizons.sources):
        yield "sources", [source.value for source in horizons.sources], "name every source once"


def _of_webhooks(spec: CascadeSpec, networks: Sequence[str]) -> Iterator[Fault]:
    instead = "messages are signed with KNOWGATE_WEBHOOK_SECRET"
    for index, url in enumerate(spec.webhooks):
        yield from _of_address(f"webhooks[{index}]", url, instead, networks)
        if "#" in url:
            yield f"webhooks[{index}]", shown_url(url), "what follows a # is sent nowhere: leave it out"


def _of_receiver(receiver: Receiver, networks: Sequence[str]) -> Iterator[Fault]:
    url, instead = receiver.url, "name the environment variable that holds the address in url_variable"
    if url is None:
        return
    if receiver.kind is not ReceiverKind.APPRISE:
        yield from _of_address("url", url, instead, networks)
        if "#" in url:
            yield "url", shown_url(url), "what follows a # is sent nowhere: leave it out"
        if receiver.kind is ReceiverKind.ALERTMANAGER and not addresses.is_root(url):
            yield "url", shown_url(url), f"{addresses.ROOT_EXPECTED}; /api/v2 is added to it"
    elif addresses.holds_credentials(url):
        yield "url", "(not shown)", f"user and password have no place in a declaration; {instead}"
    elif MARK in url:
        yield "url", receiver.without_secrets().url, "this is how an address is shown: give the whole of it"
    elif not re.fullmatch(r"[a-z0-9]+://\S+", url):
        yield (
            "url",
            "(not shown)",
            "an address of Apprise is expected, e.g. mailto://mail.internal:25?to=oncall@acme.eu",
        )


def _of_alarms(alarms: Alarms) -> Iterator[Fault]:
    if alarms.alpha > LARGEST_ALPHA:
        yield "alpha", alarms.alpha, f"lies above 0 and is at most {LARGEST_ALPHA}; 0.05 is usual"
    if not 0 < alarms.savings_margin < 1:
        yield "savings_margin", alarms.savings_margin, "lies strictly between 0 and 1; 0.05 is usual"
    if alarms.max_tokens < 1:
        yield "max_tokens", alarms.max_tokens, "a query takes at least one token"


def _of_targets(targets: Targets) -> Iterator[Fault]:
    if len(set(targets.trusted)) != len(targets.trusted):
        yield "trusted", [source.value for source in targets.trusted], "name every source once"


def _of_address(name: str, url: str, instead: str, networks: Sequence[str] = PRIVATE) -> Iterator[Fault]:
    """`instead` says what to do where credentials stand in it, which are then not shown."""
    if addresses.holds_credentials(url):
        yield name, "(not shown)", f"user and password have no place in a declaration; {instead}"
    elif MARK in url:
        yield name, shown_url(url), "this is how an address is shown: give the whole of it"
    elif not addresses.is_address(url):
        yield name, shown_url(url), addresses.EXPECTED
    elif (fault := fault_of_host(addresses.host_of(url), networks)) is not None:
        yield name, shown_url(url), fault


_OF_KIND: dict[type, Callable[[Any], Iterator[Fault]]] = {
    TierSpec: _of_tier,
    Horizons: _of_horizons,
    Alarms: _of_alarms,
    Targets: _of_targets,
}


def further_faults(record: object, webhook_networks: Sequence[str] = PRIVATE) -> Iterator[Fault]:
    """The faults of one record of a cascade; none for kinds that are whole wherever they can be
    made.

    `webhook_networks`: where webhooks and receivers may lie, of what is refused otherwise.
    """
    if isinstance(record, CascadeSpec):
        return _of_webhooks(record, webhook_networks)
    if isinstance(record, Receiver):
        return _of_receiver(record, webhook_networks)
    return _OF_KIND[type(record)](record) if type(record) in _OF_KIND else iter(())
