"""What may become of a covered row after it was written. Whatever is not named here stays, and
stays as it was.

Whoever may write to the database can state any change in a further leaf, as the functions of
`store` do. So a statement of a further state counts only where knowledge of the table says that
there can be one: a label, a certificate or a decision has one state (a decision a second one, once
it is erased). Statements of `store` that change anything else are refused where they are made, so
this list and the code cannot part.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

EVERY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What may become of the rows of one table."""

    columns: frozenset[str] = frozenset()  # EVERY = all but the primary key
    once: frozenset[str] = frozenset()  # from null to a value, and never again
    ends: bool = False  # rows are taken away

    def allow(self, names: Iterable[str]) -> bool:
        return EVERY in self.columns or set(names) <= self.columns | self.once

    def refused(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
        """The columns in which one state cannot have followed the other."""
        if EVERY in self.columns:
            return []
        return sorted(
            name
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
            and name not in self.columns
            and not (name in self.once and before.get(name) is None)
        )


def _may(*columns: str, once: tuple[str, ...] = (), ends: bool = False) -> Changes:
    return Changes(columns=frozenset(columns), once=frozenset(once), ends=ends)


_CLAIMED = ("attempts", "owner", "due_at", "failed_at", "last_error")

CHANGES: Mapping[str, Changes] = {
    "acknowledgement": _may(EVERY),
    "alarm_state": _may(EVERY),
    "alert": _may(once=("resolved_at", "resolution")),
    "assignment": _may("generation", "document", "swapped_at"),
    "bundle": _may("status", "signature"),
    "cascade": _may("version", "applied_at"),
    "cohort_figure": _may(EVERY),
    "day_file": _may(EVERY),
    "delivery": _may(*_CLAIMED, once=("delivered_at",)),
    "drift_report": _may(EVERY),
    "job_run": _may("bundle", "labels_needed", "last_error", "outcome", once=("finished_at",)),
    "outbox": _may(*_CLAIMED, once=("done_at",)),
    "ring": _may("answered_at", "answer", "stopped"),
    "sign_in": _may(once=("ended_at",)),
    "token": _may(once=("revoked_at", "revoked_by")),
    "vector_shard": _may("url", "sha256", "rows", "superseded_at", "vectors", ends=True),
    "waiting_label": _may("parked", ends=True),
}
_NONE = Changes()


def of(kind: str) -> Changes:
    """What may become of the rows of the table of this name."""
    return CHANGES.get(kind, _NONE)
