"""Every error the runtime raises, drawn as a tree.

    KnowgateError
    ├── RecordInvalid         a record's field holds a value it cannot hold
    ├── BundleRefused         a bundle file that must not be served
    ├── AssignmentRefused     an assignment that must not come into force
    ├── SpoolRefused          a decision the spool cannot take
    ├── BackendFailed         one try of one back-end gave no reply
    ├── NoAnswer              no tier gave a reply that may be served
    ├── SigningUnavailable    signatures are asked for without the extra that makes them
    └── ServiceUnreachable    the control plane did not answer, or answered with an error

A message says what was wrong, with which value, and the cure.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class KnowgateError(Exception):
    """The base of every error raised by this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is copied and pickled: with its fields as they are, since many are made of more
        than a message.
        """
        return type(self).__new__, (type(self), *self.args), self.__dict__


class RecordInvalid(KnowgateError, ValueError):
    """A field holds a value it cannot hold."""

    def __init__(self, field: str, value: object, cure: str) -> None:
        self.field = field
        self.value = value
        self.cure = cure
        try:
            shown = repr(value)
        except ValueError:  # a number of thousands of digits
            shown = "too long to show"
        super().__init__(f"{field} is {shown}: {cure}")


class BundleRefused(KnowgateError):
    """A bundle file that must not be served; the last good one stays in force."""


class AssignmentRefused(KnowgateError):
    """An assignment that must not come into force; the last good one stays."""


class SpoolRefused(KnowgateError):
    """The spool is full or closed; the decision was not taken."""


class Failure(StrEnum):
    """What became of a request to a back-end."""

    UNREACHABLE = "unreachable"  # no connection, or it was cut
    OVERLOADED = "overloaded"  # 429, 503, or a full queue
    BROKEN = "broken"  # any other error of the server's own
    TIMEOUT = "timeout"
    GARBAGE = "garbage"  # answered, with what cannot be read
    REFUSED = "refused"  # answered: this request will never do
    UNSENDABLE = "unsendable"  # not asked: this request cannot be written, e.g. half a surrogate pair
    CIRCUIT_OPEN = "circuit_open"  # not asked: it failed too often just now


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSaid:
    """What a server answered in place of a completion, in the words of the chat protocol."""

    status: int
    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None


class BackendFailed(KnowgateError):
    """One try of one back-end gave no reply; `failure` says how."""

    def __init__(
        self,
        message: str,
        failure: Failure,
        *,
        retry_after_s: float | None = None,
        said: ServerSaid | None = None,
        reached: bool | None = None,
    ) -> None:
        self.failure = failure
        self.retry_after_s = retry_after_s
        self.said = said  # None = no answer of the server's own
        # Whether somebody took the request; else its failure is no fault of its own. None = as the
        # failure says.
        self.reached = failure is not Failure.UNREACHABLE if reached is None else reached
        super().__init__(message)

    @property
    def may_be_the_requests(self) -> bool:
        """Whether this one request may be to blame, so that others may do well."""
        return self.reached and self.failure is not Failure.OVERLOADED

    @property
    def passes(self) -> bool:
        """Whether the same request may do better a moment later, and repeating it costs nothing but
        time.
        """
        return self.failure in (Failure.UNREACHABLE, Failure.OVERLOADED, Failure.BROKEN)


class NoAnswer(KnowgateError):
    """The last tier gave no reply, and no earlier tier's answer may be served; `failed` says what
    became of it.
    """

    def __init__(self, message: str, failed: BackendFailed | None = None) -> None:
        self.failed = failed
        super().__init__(message)


class SigningUnavailable(KnowgateError):
    """Signatures are asked for, and `cryptography` is not installed."""

    def __init__(self) -> None:
        super().__init__("cryptography is not installed: pip install 'knowgate[signing]', or take the keys away")


class ServiceUnreachable(KnowgateError):
    """The control plane did not answer, or answered with an error.

    `status` is its HTTP status; None: no answer, or one that was changed on its way. `unsure`:
    nothing shows that the answer is the service's own and as it was sent.
    """

    def __init__(self, message: str, *, status: int | None = None, unsure: bool = False) -> None:
        self.status = status
        self.unsure = unsure
        super().__init__(message)
