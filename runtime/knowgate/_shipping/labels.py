"""Labels from the code that learns whether an answer was right, with the spool's guarantee: a label
that `add` has taken is on disk, and is shipped until the control plane has it.
"""

from datetime import UTC, datetime
from uuid import UUID

from knowgate._records.records import Label, LabelSource
from knowgate._shipping.spool import Spool
from knowgate.errors import RecordInvalid


class Labels:
    """Labels of one cascade from one source: `gold`, `human`, `judge` or `feedback`.

    `grader` names the machine that makes them, with its version ("name@version"). A `Shipper` on
    the same spool sends them; its token needs the role `ingest`.

        with Spool("var/labels") as spool, Shipper(spool, Client(url, token)):
            labels = Labels(spool, "support", source="human")
            labels.add(True, external_id="ticket-4711")
    """

    def __init__(self, spool: Spool, cascade: str, *, source: LabelSource | str, grader: str | None = None) -> None:
        try:
            self.source = LabelSource(source)
        except ValueError:
            raise RecordInvalid("source", str(source), f"use one of {', '.join(LabelSource)}") from None
        self.spool = spool
        self.cascade = cascade
        self.grader = grader

    def add(
        self,
        correct: float,
        *,
        decision_id: UUID | str | None = None,
        external_id: str | None = None,
        tier: int | None = None,
        labelled_at: datetime | None = None,
        label_propensity: float | None = None,
    ) -> Label:
        """Says how right an answer was, from 0 to 1 (False, True); returns once that is on disk.

        The decision is named by its id (the gateway's `Knowgate-Decision`) or by your own; without
        a `tier` its served answer is meant. `labelled_at` is when it was said (None = now): a later
        one corrects an earlier one. `label_propensity` is the chance that this answer is labelled,
        where a coin drew it. Raises RecordInvalid for a value that cannot be, and SpoolRefused
        where the spool is full, closed, or its disk fails.
        """
        label = Label(
            cascade=self.cascade,
            source=self.source,
            correct=_number(correct),
            labelled_at=labelled_at or datetime.now(UTC),
            decision_id=_id(decision_id),
            external_id=external_id,
            tier=tier,
            label_propensity=label_propensity,
            grader=self.grader,
        )
        self.spool.append(label)
        return label


def _number(correct: float) -> float:
    if not isinstance(correct, (bool, int, float)):
        raise RecordInvalid("correct", correct, "give True, False or a number from 0 to 1")
    return float(correct)


def _id(given: UUID | str | None) -> UUID | None:
    if given is None or isinstance(given, UUID):
        return given
    try:
        return UUID(given)
    except ValueError:
        cure = "the id of a decision is a UUID; name it by your own id with external_id"
        raise RecordInvalid("decision_id", given, cure) from None
