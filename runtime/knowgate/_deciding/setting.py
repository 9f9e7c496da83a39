"""What a cascade is configured with, the same for all of its queries, and where decisions go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from knowgate._bundles.bundle import Bundle
from knowgate._deciding.privacy import SecretKey
from knowgate._models.features import Float16Array
from knowgate._records.records import Decision
from knowgate._records.request import parameters_named
from knowgate.spec import Privacy


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

    @property
    def stores_texts(self) -> bool:
        """Whether prompts and answers can be taken: hashing them needs the deployment's key."""
        return self.privacy is not Privacy.HASH or self.key.shared
