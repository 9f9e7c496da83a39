"""The pair in force: an assignment and the bundles it names, verified together, swapped together.

Everything a cascade decides with hangs on one immutable object. Whoever holds a reference to it
sees one consistent state for as long as a query takes, whatever the control plane pushes meanwhile.
An assignment and a bundle come into force only through the two functions here, each of which
refuses by name.
"""

from dataclasses import dataclass

from knowgate._bundles import signing
from knowgate._bundles.assignment import Assignment, read_assignment
from knowgate._bundles.bundle import Bundle, read_bundle
from knowgate._wire import codec
from knowgate.errors import AssignmentRefused, BundleRefused, RecordInvalid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """An assignment with its bundles. Raises BundleRefused where they do not belong together."""

    assignment: Assignment
    champion: Bundle | None = None
    challenger: Bundle | None = None

    def __post_init__(self) -> None:
        _require_named("champion", self.assignment, self.assignment.champion, self.champion)
        _require_named("challenger", self.assignment, self.assignment.challenger, self.challenger)
        if self.champion is not None and self.challenger is not None:
            tiers = len(self.champion.document.tiers), len(self.challenger.document.tiers)
            if tiers[0] != tiers[1]:
                raise BundleRefused(f"the challenger decides {tiers[1]} tiers, the champion {tiers[0]}: train it anew")


def verified_assignment(
    content: bytes,
    *,
    cascade: str | None = None,
    public_key: str | None = None,
    in_force: Assignment | None = None,
) -> Assignment:
    """The assignment in `content` (JSON), checked for the cascade, the signature and the
    generation.

    Raises AssignmentRefused for one of another cascade, with a public key for an unsigned or
    wrongly signed one, and for one that is older than `in_force`.
    """
    try:
        document = codec.parse(content)
    except RecordInvalid as error:
        raise AssignmentRefused(f"the assignment is not JSON: {error}") from error
    assignment = read_assignment(document)
    if cascade is not None and assignment.cascade != cascade:
        raise AssignmentRefused(
            f"the assignment is of cascade {assignment.cascade!r}, not of {cascade!r}; check the url"
        )
    if public_key is not None:
        signing.require_signed_assignment(public_key, assignment)
    if in_force is not None and _age(assignment) < _age(in_force):
        raise AssignmentRefused(
            f"generation {assignment.generation} of {assignment.issued_at.isoformat()} is older than generation "
            f"{in_force.generation} of {in_force.issued_at.isoformat()}, which is in force; issue a newer one"
        )
    return assignment


def verified_bundle(
    content: bytes, *, bundle_id: str, signature: str | None = None, public_key: str | None = None
) -> Bundle:
    """The bundle in `content`, checked for its hash, all that `read_bundle` checks, and its
    signature.

    Raises BundleRefused; with a public key, also for an unsigned or wrongly signed one.
    """
    if public_key is not None:
        signing.require_signed_bundle(public_key, bundle_id, signature)
    return read_bundle(content, expected_id=bundle_id)


def _age(assignment: Assignment) -> tuple[int, float]:
    return assignment.generation, assignment.issued_at.timestamp()


def _require_named(role: str, assignment: Assignment, wanted: str | None, bundle: Bundle | None) -> None:
    given = None if bundle is None else bundle.id
    if given != wanted:
        raise BundleRefused(f"the assignment's {role} is {wanted}, but {given} was given; fetch the bundle it names")
    if bundle is not None and bundle.document.cascade != assignment.cascade:
        raise BundleRefused(
            f"bundle {bundle.id} is of cascade {bundle.document.cascade!r}, the assignment of {assignment.cascade!r}"
        )
