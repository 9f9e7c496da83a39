"""What every request has at hand: settings, database, clock, and the few things kept in memory."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy import Engine

from knowgate._deciding.privacy import SecretKey
from services.clock import Clock
from services.http.identity import Identity
from services.http.metrics import Metrics
from services.http.rates import Rates
from services.http.sidecar import Sidecars
from services.http.token_gate import TokenGate
from services.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The service as its requests see it."""

    settings: Settings
    engine: Engine
    clock: Clock
    tokens: TokenGate
    metrics: Metrics
    key: SecretKey = field(repr=False)
    sidecars: Sidecars
    token_rates: Rates  # of good tokens, by their ids
    refusal_rates: Rates  # of wrong secrets, by the address that shows them
    identity: Identity | None

    def now(self) -> datetime:
        return self.clock.now().astimezone(UTC)


async def context_of(request: Request) -> Context:
    """The context of the application that serves `request`; needs no thread, since all of them may
    be taken.
    """
    return cast(Context, request.app.state.context)


InContext = Annotated[Context, Depends(context_of)]
