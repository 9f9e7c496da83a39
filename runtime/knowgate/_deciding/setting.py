"""What a cascade is configured with, the same for all of its queries, and where decisions go."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from knowgate._bundles.bundle import Bundle
from knowgate._deciding.privacy import SecretKey
from knowgate._models.features import Float16Array
from knowgate._records.records import Decision
from knowgate._records.request import parameters_named
from knowgate.spec import Privacy

UNKNOWN_MODEL = "unknown"  # no bundle, no `models`, and none named with the attempt

log = logging.getLogger("knowgate.query")


class DecisionLog(Protocol):
    """Where decisions go: a `Spool`, or `NoSpool`."""

    def append(self, decision: Decision, vectors: Sequence[Float16Array] = ()) -> None: ...


class NoSpool:
    """Keeps nothing: for replays, simulations and sidecars that log elsewhere."""

    def append(self, decision: Decision, vectors: Sequence[Float16Array] = ()) -> None:
        """Takes the decision and forgets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a cascade is configured with; the same for all of its queries."""

    name: str
    models: tuple[str, ...]  # cheapest first; empty = known from the bundle only
    named: bool  # by the declaration or by the owner, not only by the back-ends
    key: SecretKey
    privacy: Privacy
    vector_rate: float
    log: DecisionLog

    def meets(self, bundle: Bundle | None, tier: int) -> bool:
        """Whether the bundle is for the models that run here, as far as anybody named them.

        What back-ends call their models are paths and servers' names: of those the request
        parameters alone count.
        """
        own, certified = self.models, () if bundle is None else bundle.document.models
        if bundle is None or not own or own == certified:
            return True
        if self.named or not 0 <= tier < min(len(own), len(certified)):
            return not self.named
        return parameters_named(own[tier]) == parameters_named(certified[tier])

    def models_of(self, bundle: Bundle | None) -> tuple[str, ...]:
        """The tiers' models where anybody names them: the bundle's, else those that run here."""
        return self.models if bundle is None else bundle.document.models

    def model_of(self, bundle: Bundle | None, tier: int) -> str:
        """The model that an attempt at `tier` is logged as of, where the attempt names none."""
        own, named = self.models, self.models_of(bundle)
        if 0 <= tier < len(own) and not self.meets(bundle, tier):
            return own[tier]
        return named[tier] if named else UNKNOWN_MODEL

    @property
    def stores_texts(self) -> bool:
        """Whether prompts and answers can be taken: hashing them needs the deployment's key."""
        return self.privacy is not Privacy.HASH or self.key.shared


@functools.cache
def warn_of_unknown_models(cascade: str) -> None:
    """Once per cascade and process: every decision would say the same."""
    log.warning(
        "cascade %s: nobody says which models its tiers run, so attempts are logged as of %r and teach nothing: give "
        "models=(…), cheapest first, or follow a control plane that declares the cascade",
        cascade,
        UNKNOWN_MODEL,
    )
