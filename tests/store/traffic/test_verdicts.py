"""What is not trusted is counted against the trusted labels of the same answers."""

from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Reason
from store.labelling.graders import GraderError
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.traffic.verdicts import Compared, compared_verdicts, measured_errors

TRUSTED = (LabelSource.GOLD, LabelSource.HUMAN)
JUDGE, GOLD, HUMAN, FEEDBACK = LabelSource.JUDGE, LabelSource.GOLD, LabelSource.HUMAN, LabelSource.FEEDBACK


def test_graders_are_measured_apart_by_the_strongest_trusted_label(session: Session, cast: Any) -> None:
    a, b, c, d = (cast.retained(minutes) for minutes in range(4))
    served = replace(cast.escalated(4).served, fault=Reason.UNCERTIFIED_REQUEST)
    outside = replace(cast.escalated(4), attempts=(served,))
    add_decisions(session, [a, b, c, d, outside], received_at=cast.at(5))
    said = [
        cast.label(a, 10, source=GOLD, correct=1.0, tier=0),
        cast.label(a, 10, source=HUMAN, correct=0.0, tier=0),
        cast.label(a, 10, source=JUDGE, correct=1.0, tier=0, grader="judge@1"),
        cast.label(a, 11, source=JUDGE, correct=0.0, tier=0, grader="judge@1"),  # said anew
        cast.label(b, 10, source=HUMAN, correct=0.0, tier=0),
        cast.label(b, 10, source=JUDGE, correct=1.0, tier=0, grader="judge@2"),
        cast.label(b, 10, source=FEEDBACK, correct=0.0, tier=0),  # nobody is named, and weaker
        cast.label(c, 10, source=JUDGE, correct=1.0, tier=0, grader="judge@2"),  # no trusted label speaks of it
        cast.label(d, 10, source=GOLD, correct=1.0, tier=0),
        cast.label(d, 10, source=JUDGE, correct=0.5, tier=0, grader="judge@2"),  # half right is right
        cast.label(d, 10, source=GOLD, correct=1.0, tier=1),  # another answer
        cast.label(outside, 10, source=GOLD, correct=1.0, tier=1),
        cast.label(outside, 10, source=JUDGE, correct=0.0, tier=1),
    ]
    for label in said:
        add_labels(session, [label], received_at=cast.at(20))
    window, asked = cast.window(), {"as_of": cast.at(30), "trusted": TRUSTED}
    first, second = measured_errors(session, "geo", window, **asked)
    counts = {"measured_at": cast.at(30), "window": window}
    assert first == GraderError(
        grader="judge@1", wrong=0, wrong_called_right=0, right=1, right_called_wrong=1, **counts
    )
    assert second == GraderError(
        grader="judge@2", wrong=1, wrong_called_right=1, right=1, right_called_wrong=0, **counts
    )
    assert compared_verdicts(session, "geo", window, **asked) == Compared(answers=3, wrong=2)
    early = {"as_of": cast.at(19), "trusted": TRUSTED}
    assert measured_errors(session, "geo", window, **early) == ()
    assert compared_verdicts(session, "geo", window, **early) == Compared(answers=0, wrong=0)
    assert compared_verdicts(session, "geo", window, as_of=cast.at(30), trusted=tuple(LabelSource)).answers == 0
