"""What every way of making a cascade takes, and the setting that comes of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict

from knowgate._deciding.privacy import SecretKey
from knowgate._deciding.setting import DecisionLog, NoSpool, Setting
from knowgate.errors import RecordInvalid
from knowgate.spec import Privacy

if TYPE_CHECKING:
    from knowgate.backends.protocol import Backend, Encoder
    from knowgate.backends.tries import Patience


def utc_now() -> datetime:
    """The default clock."""
    return datetime.now(UTC)


class CascadeOptions(TypedDict, total=False):
    """What every way of making a cascade takes.

    `hash_key`: 16 to 64 secret bytes, the same in all processes of a deployment; prompts are hashed
    and coins are thrown with it. `privacy`: what is stored of prompts and answers; the default
    keeps keyed hashes. `vector_rate`: the share of decisions whose hidden states are kept (explored
    ones always are). `models`: names of the tiers' models; a bundle for others decides nothing.
    Left out, `Cascade.watch` takes those that the control plane declares. `clock`: returns aware
    times. `backends`: who runs the tiers, cheapest first, for `answer`; they stay their owner's to
    close. `encoders`: by tier, what reads prompts for a probe where the back-end shows no hidden
    states. `early`: the tiers that a gate may end before they answer, as soon as the prompt is
    read. `patience`: how long tiers are waited for, one for all or one each.
    """

    hash_key: bytes | None
    privacy: Privacy
    vector_rate: float
    models: Sequence[str]
    spool: DecisionLog
    clock: Callable[[], datetime]
    backends: "Sequence[Backend]"
    encoders: "Mapping[int, Encoder]"
    early: Collection[int]
    patience: "Patience | Sequence[Patience]"


def setting_of(name: str, options: CascadeOptions) -> Setting:
    """Raises RecordInvalid for options that do not go together."""
    key = SecretKey(options.get("hash_key"))
    privacy = Privacy(options.get("privacy", Privacy.HASH))
    vector_rate = options.get("vector_rate", 1.0)
    if not 0.0 <= vector_rate <= 1.0:
        raise RecordInvalid("vector_rate", vector_rate, "lies in [0, 1]")
    if "spool" in options and privacy is Privacy.HASH and not key.shared:
        raise RecordInvalid("hash_key", None, "give the deployment's hash_key, or privacy=Privacy.NEVER")
    backends = options.get("backends", ())
    return Setting(
        name=name,
        models=tuple(options.get("models", ())) or tuple(backend.model for backend in backends),
        named=bool(options.get("models", ())),
        key=key,
        privacy=privacy,
        vector_rate=vector_rate,
        log=options.get("spool", NoSpool()),
    )
