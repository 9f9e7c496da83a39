"""What the service says of rows that it did not take as they were sent."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One row of a batch that was not stored, and why."""

    index: int  # within the batch as it was given, from 0
    field: str
    value: str | None
    cure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeclared:
    """So many attempts of a batch name another model than the cascade does: nothing is learned from
    them.
    """

    cascade: str
    tier: int
    model: str  # as the attempts say
    declared: str  # as the cascade says
    attempts: int

    def __str__(self) -> str:
        return (
            f"cascade {self.cascade}, tier {self.tier}: model is {self.model!r} in {self.attempts} attempts:"
            f" {self.declared!r} is declared; correct what the gateway sends, or cascade.toml"
        )
