"""What can go wrong when a figure is made, and why each case has a class of its own.

    EvidenceError
    ├── InvalidInputError     an argument cannot be what it claims to be (empty, out of range)
    ├── NotIdentifiedError    the data cannot answer the question, however many rows there are
    └── OverlapError          something was learned on the rows that are to certify it

A caller that prints figures catches `NotIdentifiedError` and shows "not identified"; the other two
are faults of the caller and are meant to stop it. Every message names the argument, the value seen
and the cure.
"""


class EvidenceError(Exception):
    """A figure was refused; the message names the argument, its value and the cure."""


class InvalidInputError(EvidenceError, ValueError):
    """An argument is empty, not finite, out of range or of the wrong length: correct it and call
    again.
    """


class NotIdentifiedError(EvidenceError):
    """The propensity of a row that counts is zero or unknown: no estimate exists, report "not
    identified".
    """


class OverlapError(EvidenceError):
    """Rows that taught an ordering, a probe or a path would also certify it: certify on
    other rows.
    """
