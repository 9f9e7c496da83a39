"""The roles of a query's attempts, known once it is over: who was served, who was superseded."""

from collections.abc import Sequence
from dataclasses import replace

from knowgate._records.records import Attempt, Role
from knowgate.errors import RecordInvalid


def with_roles(attempts: Sequence[Attempt], *, last_known: bool) -> tuple[Attempt, ...]:
    """The attempts, of which those that answered in order stand as served until now: the last of
    them was. Raises RecordInvalid where none did.
    """
    answered = [at for at, attempt in enumerate(attempts) if attempt.role is Role.SERVED]
    if not answered:
        raise RecordInvalid("attempts", len(attempts), "no tier ran; call attempt() before close()")
    given, served = list(attempts), answered[-1]
    if not last_known and served > 0:
        # Nobody said which tier is the last, but nothing came after this one: nothing was decided
        # there.
        given[served] = replace(given[served], verdict=None, fault=None)
    for at in answered[:-1]:
        given[at] = replace(given[at], role=Role.SUPERSEDED)
    return tuple(given)
