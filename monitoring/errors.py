"""What can go wrong while a cascade is watched.

MonitoringError
├── CohortInvalid      rows that cannot be paired into decisions
├── DriftUnavailable   Evidently could not compare two sets of rows
└── AlarmStateInvalid  a stored alarm state that this version cannot continue
"""


class MonitoringError(Exception):
    """The base of every error raised by this package; the message names the value and the cure."""


class CohortInvalid(MonitoringError, ValueError):
    """Rows cannot be paired into decisions: an attempt without a served one, or two."""


class DriftUnavailable(MonitoringError):
    """Evidently could not compare reference and current rows; its own message follows."""


class AlarmStateInvalid(MonitoringError):
    """A stored alarm state does not fit this version: resolve the alert and start a new family."""
