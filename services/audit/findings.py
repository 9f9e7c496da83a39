"""What verification finds: which checks were made over how much, and every problem by table, id and
what differs.
"""

from dataclasses import dataclass, field

SHOWN = 100  # problems of a check that are kept by name; all are counted

CHECKS = {
    "batches": "every batch hashes to what it says and is chained to the one before",
    "roots": "every batch's root is over its leaves",
    "leaves": "every leaf hashes to what it says, is of a known kind, and is empty only where an erasure names it",
    "rows": "every row says what its newest leaf says, none is without a leaf, and none is missing",
    "files": "every day's file hashes to what its row says of it",
    "head": "the exported head is signed, and the database holds what it was signed over",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as it was written."""

    check: str
    table: str
    id: str
    what: str

    def __str__(self) -> str:
        return f"{self.table} {self.id}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check that was made."""

    name: str  # a key of CHECKS
    checked: int  # batches, leaves or rows that were looked at
    problems: int


@dataclass(slots=True)
class Findings:
    """Collects what the checks find while they run."""

    problems: list[Problem] = field(default_factory=list)
    _checked: dict[str, int] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def checked(self, check: str, count: int) -> None:
        self._checked[check] = self._checked.get(check, 0) + count

    def problem(self, check: str, table: str, subject: object, what: str) -> None:
        self._counts[check] = self._counts.get(check, 0) + 1
        if self._counts[check] <= SHOWN:
            self.problems.append(Problem(check=check, table=table, id=str(subject), what=what))

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks that were made, in their order."""
        made = self._checked.keys() | self._counts.keys()
        return tuple(
            Check(name=name, checked=self._checked.get(name, 0), problems=self._counts.get(name, 0))
            for name in CHECKS
            if name in made
        )
