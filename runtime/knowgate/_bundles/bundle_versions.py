"""Which bundle schemas this runtime reads.

A schema is named `knowgate.bundle.v1` or `knowgate.bundle.v1.N`. Another major version is refused.
A newer minor one is refused as well, since it may say something this runtime would ignore. An older
minor one is brought up to date step by step, by one named function per step, or refused by name
where its step was never written.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from knowgate.errors import BundleRefused

Json = Any
Upgrade = Callable[[dict[str, Json]], dict[str, Json]]

MAJOR = 1
MINOR = 1
FAMILY = f"knowgate.bundle.v{MAJOR}"
SCHEMA = f"{FAMILY}.{MINOR}"


def add_p_t_kinds(document: dict[str, Json]) -> dict[str, Json]:
    """Version 1.0 to 1.1, which says of which kind each tier's P(T) is.

    Until then the first token's was the only one that any back-end measured. A tier that sends
    another kind now escalates, with that reason, until a bundle is trained on it.

    >>> add_p_t_kinds({"schema": "knowgate.bundle.v1", "models": ["a", "b", "c"]})["p_t_kinds"]
    ['first_token', 'first_token']
    """
    if "p_t_kinds" in document:
        raise BundleRefused(f"schema is {document['schema']!r}, which has no p_t_kinds: the file was changed; fetch it")
    models = document.get("models")
    tiers = len(models) - 1 if isinstance(models, list) else 0
    return document | {"schema": "knowgate.bundle.v1.1", "p_t_kinds": ["first_token"] * tiers}


# Minor version -> the function that turns its document into one of the next minor version.
UPGRADES: Mapping[int, Upgrade] = {0: add_p_t_kinds}


def minor_version(schema: object) -> int:
    """The minor version a schema names. Raises BundleRefused unless it is one of major version 1.

    >>> minor_version("knowgate.bundle.v1"), minor_version("knowgate.bundle.v1.3")
    (0, 3)
    """
    match = re.fullmatch(r"knowgate\.bundle\.v([0-9]{1,6})(?:\.([0-9]{1,6}))?", str(schema))
    if match is None:
        raise BundleRefused(f"schema is {schema!r}: this is not a bundle of knowgate; {SCHEMA} is expected")
    if int(match[1]) != MAJOR:
        raise BundleRefused(f"schema is {schema!r}: this runtime reads major version {MAJOR}; upgrade one of the two")
    return int(match[2] or 0)


def upgrade(
    document: dict[str, Json], *, current: int = MINOR, steps: Mapping[int, Upgrade] = UPGRADES
) -> dict[str, Json]:
    """`document`, brought up to the minor version `current` by `steps`. Raises BundleRefused where
    it cannot be.
    """
    minor_of_file = minor_version(document.get("schema"))
    if minor_of_file > current:
        raise BundleRefused(
            f"schema is {document['schema']!r}: it is newer than this runtime, which reads minor version {current} "
            f"of {FAMILY}; upgrade the runtime"
        )
    for minor in range(minor_of_file, current):
        if minor not in steps:
            raise BundleRefused(
                f"schema is {document['schema']!r}: minor version {minor} can no longer be upgraded; train a new bundle"
            )
        document = steps[minor](document)
    return document
