"""Why an answer was not kept, in a few words."""

from collections.abc import Mapping

from knowgate._records.records import Reason

_REASONS: Mapping[Reason, str] = {
    Reason.P_T: "its answer was not probable enough",
    Reason.P_IK: "it does not know",
    Reason.SCORE: "it was not sure enough",
    Reason.OOD: "unlike what the probe has seen",
    Reason.NO_BUNDLE: "no bundle was in force",
    Reason.EXPIRED: "the assignment had expired",
    Reason.ESCALATE_ALL: "nothing is kept",
    Reason.OBSERVE: "only observed",
    Reason.UNCERTIFIED_REQUEST: "no certificate covers it",
}


def reason_word(reason: Reason) -> str:
    """The reason as a person says it.

    >>> reason_word(Reason.P_IK), reason_word(Reason.MISSING_SIGNAL)
    ('it does not know', 'missing signal')
    """
    return _REASONS.get(reason, reason.value.replace("_", " "))
