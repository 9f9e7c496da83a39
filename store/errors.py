"""Every error the store raises, drawn as a tree.

    StoreError
    ├── CascadeUnknown     no cascade of this name was applied
    ├── DecisionUnknown    no decision of this id is stored
    ├── AlertUnknown       no alert of this id is stored
    ├── DeliveryUnknown    no message of this id is stored
    ├── BundleUnknown      no bundle of this id is stored
    ├── BundleMismatch     a bundle's content does not hash to its id
    ├── BundleDamaged      a stored bundle is not what its id says
    ├── RecordUnreadable   a stored declaration or assignment cannot be read
    ├── GenerationMoved    the assignment is no longer the one that was read
    ├── ClaimLost          another worker took the job, message or delivery over
    ├── AttemptTaken       another run already made this certification attempt
    ├── TokenNameTaken     a token of this name exists
    ├── TokenUnknown       no token of this name works
    ├── NaiveTime          a time without its offset
    ├── ShardRefused       a shard that cannot be written or read as asked
    │   └── FingerprintDiffers  its vectors are hidden states of something else
    ├── FileRefused        a user's file of rows that cannot be read as it stands
    ├── RowsMoved          rows of a shard are no longer where they were read
    └── UrlUnsupported     a database URL this store cannot open

A message says what was wrong, with which value, and the cure.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from knowgate.errors import RecordInvalid


class StoreError(Exception):
    """The base of every error raised by this package."""


class CascadeUnknown(StoreError):
    """No cascade of this name was applied."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.cure = f"no such cascade (known: {', '.join(known) or 'none'}); run `knowgate cascade apply` first"
        super().__init__(f"cascade is {name!r}: {self.cure}")


class DecisionUnknown(StoreError):
    """No decision of this id is stored."""

    def __init__(self, decision_id: UUID) -> None:
        self.decision_id = decision_id
        self.cure = "no such decision is stored; check the id, or wait until its spool is shipped"
        super().__init__(f"decision is {decision_id}: {self.cure}")


class AlertUnknown(StoreError):
    """No alert of this id is stored."""

    def __init__(self, alert_id: UUID) -> None:
        self.alert_id = alert_id
        self.cure = "no such alert is stored; `knowgate alert list --all` lists those that are"
        super().__init__(f"alert is {alert_id}: {self.cure}")


class DeliveryUnknown(StoreError):
    """No message of this id is stored."""

    def __init__(self, delivery_id: UUID) -> None:
        self.delivery_id = delivery_id
        self.cure = "no such message is stored; `knowgate deliveries list --all` lists those that are"
        super().__init__(f"delivery is {delivery_id}: {self.cure}")


class BundleUnknown(StoreError):
    """No bundle of this id is stored."""

    def __init__(self, bundle_id: str) -> None:
        self.bundle_id = bundle_id
        self.cure = "no such bundle is stored; `knowgate bundle show` lists those that are"
        super().__init__(f"bundle is {bundle_id!r}: {self.cure}")


class BundleDamaged(StoreError):
    """A stored bundle is no longer what was stored."""

    def __init__(self, bundle_id: str, found: str) -> None:
        self.bundle_id = bundle_id
        self.found = found
        self.cure = (
            "restore the database from a backup, or put another bundle in force (`knowgate rollback`, `knowgate train`)"
        )
        super().__init__(f"bundle {bundle_id} is damaged in the database, {found}: {self.cure}")


class RecordUnreadable(StoreError, RecordInvalid):
    """A stored declaration or assignment cannot be read: the fault lies here, and in nothing that a
    caller sent.
    """

    def __init__(self, cascade: str, what: str, found: RecordInvalid, cure: str) -> None:
        super().__init__("cascade", cascade, f"its stored {what} cannot be read ({found}): {cure}")


class FileRefused(StoreError):
    """A user's file of rows, or a line or a cell of it, cannot be read as it stands."""


class BundleMismatch(StoreError):
    """A bundle's content does not hash to its id."""

    def __init__(self, bundle_id: str, found: str) -> None:
        super().__init__(f"bundle {bundle_id!r} has content of SHA-256 {found}; send the file the id was made from")


class GenerationMoved(StoreError):
    """The assignment is no longer the one that was read."""

    def __init__(self, cascade: str, expected: int | None, found: int | None) -> None:
        self.expected = expected
        self.found = found
        super().__init__(
            f"the assignment of {cascade!r} is at generation {found}, not {expected}; read it again and decide anew"
        )


class ClaimLost(StoreError):
    """Another worker took over what this one had claimed."""

    def __init__(self, what: str, token: int) -> None:
        super().__init__(f"{what} is no longer held with token {token}; drop this result, its new owner makes its own")


class AttemptTaken(StoreError):
    """Another run already made this certification attempt."""

    def __init__(self, cascade: str, attempt: int) -> None:
        super().__init__(
            f"another run made attempt {attempt} of {cascade!r} meanwhile; run it again, it takes the next number"
        )


class TokenUnknown(StoreError):
    """No token of this name works."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cure = "no such token, or it is revoked already; `knowgate token list` shows all"
        super().__init__(f"token is {name!r}: {self.cure}")


class TokenNameTaken(StoreError):
    """A token of this name exists; names are how tokens are revoked."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a token named {name!r} exists; choose another name (names of revoked tokens stay taken)")


class NaiveTime(StoreError, ValueError):
    """A time without its offset."""

    def __init__(self, value: datetime) -> None:
        super().__init__(f"time {value.isoformat()} is naive; add its offset, e.g. Z")


class UrlUnsupported(StoreError):
    """A database URL this store cannot open."""

    def __init__(self, url: str) -> None:
        super().__init__(f"database URL {url!r} is not supported; use sqlite:///FILE or postgresql+psycopg://…")


class ShardRefused(StoreError, ValueError):
    """A shard that cannot be written or read as asked; the message names it, what was wrong and the
    cure.
    """


class FingerprintDiffers(ShardRefused):
    """The vectors are hidden states of something else than what was asked for."""

    def __init__(self, where: str, field: str, expected: object, found: object) -> None:
        self.field = field
        self.expected = expected
        self.found = found
        super().__init__(
            f"{where} has fingerprint.{field} {found!r}, {expected!r} is expected: "
            f"read vectors of one model, layer and template together, or extract them anew"
        )


class RowsMoved(StoreError):
    """Rows of a shard are no longer where they were read: somebody erased or moved them
    meanwhile.
    """

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"{found} of {expected} rows were still where they were read; read them again and start anew")
