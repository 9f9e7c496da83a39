"""What is not trusted is counted against the trusted labels of the same answers."""

from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Reason
from store.labelling.graders import GraderError
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.traffic.verdicts import Compared, Verdicts, verdicts

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
    found = verdicts(session, "geo", window, **asked)
    first, second = found.graders
    counts = {"measured_at": cast.at(30), "window": window}
    assert first == GraderError(
        grader="judge@1", wrong=0, wrong_called_right=0, right=1, right_called_wrong=1, **counts
    )
    assert second == GraderError(
        grader="judge@2", wrong=1, wrong_called_right=1, right=1, right_called_wrong=0, **counts
    )
    none = Compared(answers=0, wrong=0)
    assert (found.earlier, found.recent) == (none, Compared(answers=3, wrong=2))
    parted = verdicts(session, "geo", window, since=cast.at(1), **asked)
    assert (parted.earlier, parted.recent) == (Compared(answers=1, wrong=1), Compared(answers=2, wrong=1))
    assert parted.graders == found.graders
    nothing = Verdicts(earlier=none, recent=none, graders=())
    assert verdicts(session, "geo", window, as_of=cast.at(19), trusted=TRUSTED) == nothing
    assert verdicts(session, "geo", window, as_of=cast.at(30), trusted=tuple(LabelSource)) == nothing
    by_gold_alone = verdicts(session, "geo", window, as_of=cast.at(30), trusted=(GOLD,))
    assert by_gold_alone.recent == Compared(answers=2, wrong=1)  # of a what a person said, of d the judge
    assert [one.grader for one in by_gold_alone.graders] == ["judge@1", "judge@2"]
