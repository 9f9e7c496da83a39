"""Whom a message goes to: the receivers that a cascade declares, and the addresses of `webhooks`,
which are receivers of alerts without a name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from knowgate._records.receivers import Hears, Receiver, ReceiverKind, Severity
from knowgate.backends.factory import key_of
from knowgate.spec import CascadeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """One receiver, as a message's row names it."""

    key: str  # its name; of one of `webhooks` the address
    kind: ReceiverKind
    url: str | None = None
    url_variable: str | None = None

    @property
    def keeps_silences(self) -> bool:
        """Whether it knows of silences and keeps them itself, so that it hears of alerts in one
        too.
        """
        return self.kind is ReceiverKind.ALERTMANAGER

    def address(self, variables: Mapping[str, str] | None) -> str:
        """Where it is, by its declaration or by the environment (None = the process's). Raises
        RecordInvalid where the environment does not say.
        """
        if self.url is not None:
            return self.url
        found = key_of(self.url_variable, f"receiver {self.key}", variables, field="url_variable")
        assert found is not None  # a variable is named
        return found


def hearing(spec: CascadeSpec, about: Hears, severity: Severity) -> tuple[Addressee, ...]:
    """Who hears of what is `about` this and this severe."""
    plain = spec.webhooks if about is Hears.ALERTS else ()
    named = (receiver for receiver in spec.receivers if receiver.hears_of(about, severity))
    return (*map(_plain, plain), *map(_named, named))


def everybody(spec: CascadeSpec) -> tuple[Addressee, ...]:
    """Who hears of anything at all."""
    return (*map(_plain, spec.webhooks), *map(_named, spec.receivers))


def addressee(spec: CascadeSpec, key: str) -> Addressee | None:
    """The receiver that a message's row names; None where it is no longer declared. An address
    that was among `webhooks` is one still.
    """
    if "://" in key:
        return _plain(key)
    return next((_named(receiver) for receiver in spec.receivers if receiver.name == key), None)


def _plain(url: str) -> Addressee:
    return Addressee(key=url, kind=ReceiverKind.WEBHOOK, url=url)


def _named(receiver: Receiver) -> Addressee:
    return Addressee(key=receiver.name, kind=receiver.kind, url=receiver.url, url_variable=receiver.url_variable)
