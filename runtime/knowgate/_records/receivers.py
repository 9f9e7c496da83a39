"""Who hears of what is wrong and of what is moved: the receivers that a cascade declares."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from knowgate._wire.shown import MARK, shown_url
from knowgate.errors import RecordInvalid


class ReceiverKind(StrEnum):
    """How a receiver takes messages."""

    WEBHOOK = "webhook"  # a signed POST, as Standard Webhooks has it
    ALERTMANAGER = "alertmanager"  # Prometheus's, by its API v2
    APPRISE = "apprise"  # Slack, e-mail, PagerDuty, Teams and what else that library reaches


class Severity(StrEnum):
    """How soon somebody should look."""

    CRITICAL = "critical"  # now: answers may be wrong that nobody would know of
    WARNING = "warning"  # today: money is lost, or what is promised cannot be checked

    def reaches(self, least: "Severity") -> bool:
        """Whether it is at least as severe.

        >>> Severity.CRITICAL.reaches(Severity.WARNING), Severity.WARNING.reaches(Severity.CRITICAL)
        (True, False)
        """
        return self is Severity.CRITICAL or least is Severity.WARNING


class Hears(StrEnum):
    """What a message is about."""

    ALERTS = "alerts"  # one opened, rang again, is resolved
    MOVES = "moves"  # of what is in force: promoted, stopped, resumed, rolled back, observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where messages go, and which. Its address is a secret, or the environment holds it."""

    name: str
    kind: ReceiverKind
    url: str | None = None
    url_variable: str | None = None  # the environment variable that holds its address, where that is a secret
    severity: Severity = Severity.WARNING  # what is less severe is not sent
    hears: tuple[Hears, ...] = ()  # none = all that its kind takes

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", self.name):
            raise RecordInvalid("name", self.name, "use 1 to 63 of a-z, 0-9, - and _")
        either = "give either url, or url_variable, which names the environment variable that holds the address"
        if self.url is None and self.url_variable is None:
            raise RecordInvalid("url", None, either)
        if self.url is not None and self.url_variable is not None:
            raise RecordInvalid("url_variable", "(not shown)", either)
        if self.url_variable is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.url_variable):
            cure = "name an environment variable, e.g. SLACK_URL; the address itself has no place here"
            raise RecordInvalid("url_variable", "(not shown)", cure)
        if len(set(self.hears)) != len(self.hears):
            raise RecordInvalid("hears", [one.value for one in self.hears], "name each once")
        if self.kind is ReceiverKind.ALERTMANAGER and Hears.MOVES in self.hears:
            raise RecordInvalid("hears", "moves", "Alertmanager takes what begins and ends: it hears alerts alone")

    def hears_of(self, about: Hears, severity: Severity) -> bool:
        """Whether a message of this severity is for it."""
        if not severity.reaches(self.severity):
            return False
        if self.hears:
            return about in self.hears
        return about is Hears.ALERTS or self.kind is not ReceiverKind.ALERTMANAGER

    def without_secrets(self) -> "Receiver":
        """As it may be shown to anybody: of an address scheme and host, of Apprise's the scheme
        alone, since what stands where others have a host is often a token.

        >>> Receiver(name="chat", kind=ReceiverKind.APPRISE, url="slack://T1/B1/hunter2").without_secrets().url
        'slack://…'
        """
        if self.url is None:
            return self
        scheme = self.url.partition("://")[0]
        shown = f"{scheme}://{MARK}" if self.kind is ReceiverKind.APPRISE else shown_url(self.url)
        return replace(self, url=shown)
