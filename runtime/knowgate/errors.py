"""Every error the runtime raises, drawn as a tree.

    KnowgateError
    ├── RecordInvalid         a record's field holds a value it cannot hold
    ├── BundleRefused         a bundle file that must not be served
    ├── AssignmentRefused     an assignment that must not come into force
    ├── SpoolRefused          a decision the spool cannot take
    ├── SigningUnavailable    signatures are asked for without the extra that makes them
    └── ServiceUnreachable    the control plane did not answer, or answered with an error

A message says what was wrong, with which value, and the cure.
"""


class KnowgateError(Exception):
    """The base of every error raised by this package."""


class RecordInvalid(KnowgateError, ValueError):
    """A field holds a value it cannot hold."""

    def __init__(self, field: str, value: object, cure: str) -> None:
        self.field = field
        self.value = value
        self.cure = cure
        super().__init__(f"{field} is {value!r}: {cure}")


class BundleRefused(KnowgateError):
    """A bundle file that must not be served; the last good one stays in force."""


class AssignmentRefused(KnowgateError):
    """An assignment that must not come into force; the last good one stays."""


class SpoolRefused(KnowgateError):
    """The spool is full or closed; the decision was not taken."""


class SigningUnavailable(KnowgateError):
    """Signatures are asked for, and `cryptography` is not installed."""

    def __init__(self) -> None:
        super().__init__("cryptography is not installed: pip install 'knowgate[signing]', or take the keys away")


class ServiceUnreachable(KnowgateError):
    """The control plane did not answer, or answered with an error; `status` is its HTTP status, None = no answer."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)
