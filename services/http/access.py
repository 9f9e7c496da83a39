"""How far whoever asks may go: its role, and the cascades that its token or its sign-in reaches.

A token of some cascades learns nothing of others, not even whether they are there: an address or a
body that names one is refused in the same words whether it exists or not, an object of another
cascade is as unknown as one that never was, lists leave others out, and what is about the whole
installation is refused.
"""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from services.http.errors import ApiError
from store.errors import StoreError
from store.tokens import TokenRole

LOOKERS = frozenset({TokenRole.READ, TokenRole.OPERATOR, TokenRole.ADMIN})  # whom pages open to


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a good token or a good sign-in opens."""

    name: str  # under which its acts are recorded
    role: TokenRole
    cascades: tuple[str, ...] | None = None  # None = all

    def may(self, *roles: TokenRole) -> bool:
        """Whether it is of one of these roles, or of one that may do what they may."""
        reads = self.role is TokenRole.OPERATOR and TokenRole.READ in roles
        return self.role is TokenRole.ADMIN or self.role in roles or reads

    def covers(self, cascade: str) -> bool:
        """Whether it reaches a cascade of this name."""
        return self.cascades is None or cascade in self.cascades

    def require(self, *cascades: str) -> None:
        """Raises 403 where it does not reach all of these, whether they are there or not."""
        for cascade in cascades:
            if not self.covers(cascade):
                cure = f"use a token that reaches {cascade!r}: `knowgate token create … --cascade {cascade}`"
                raise ApiError(403, field="token", value=self._reach, cure=cure)

    def require_whole(self) -> None:
        """Raises 403 for one of some cascades alone."""
        if self.cascades is not None:
            cure = "this is about the whole installation: use a token made without --cascade"
            raise ApiError(403, field="token", value=self._reach, cure=cure)

    def require_sight(self, cascade: str, unknown: StoreError) -> None:
        """Raises `unknown` for what belongs to a cascade that it does not reach."""
        if not self.covers(cascade):
            raise unknown

    def among(self, cascade: str | None) -> tuple[str | None, ...]:
        """Of which cascades to look something up, where `cascade` was asked for; None = of all.
        Raises 403.
        """
        if cascade is not None:
            self.require(cascade)
            return (cascade,)
        return (None,) if self.cascades is None else self.cascades

    @property
    def _reach(self) -> str:
        return f"of {', '.join(self.cascades or ())}"


async def access_of(request: Request) -> Access:
    """What was let through to this address by `services.http.auth`."""
    return cast(Access, request.state.access)


InAccess = Annotated[Access, Depends(access_of)]


async def require_whole(access: InAccess) -> None:
    """Of an address about the whole installation: refuses who reaches some cascades alone."""
    access.require_whole()
