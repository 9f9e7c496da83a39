"""The application: every router, the one error shape, and a count of every request."""

import logging
import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from sqlalchemy import Engine

from knowgate._deciding.privacy import SecretKey
from services.api import (
    acts,
    alerts,
    assignments,
    audit,
    bundles,
    cascades,
    decide,
    decisions,
    deliveries,
    health,
    labels,
    service,
    stored_decisions,
    tokens,
)
from services.api.openapi import install_openapi
from services.clock import Clock, SystemClock
from services.errors import InputInvalid
from services.http.context import Context
from services.http.digested import DigestedJSON
from services.http.errors import install_error_handlers
from services.http.identity import Identity
from services.http.metrics import Metrics
from services.http.rates import Rates
from services.http.sidecar import Sidecars
from services.http.token_gate import TokenGate
from services.operations import routes as operations
from services.operations import routes_of_service
from services.pages import routes, routes_acts, routes_cascades, routes_open, routes_reports, routes_sign_in
from services.privacy import hash_key
from services.settings import Settings
from services.telemetry import gen_ai, spans
from services.telemetry.deployment_metrics import DeploymentCollector
from services.telemetry.spans import Kind

log = logging.getLogger("knowgate.api")

LOOKED_AT = ("/metrics", "/healthz", "/readyz")  # by machines, every few seconds: a trace of each would bury the others


def create_app(settings: Settings, engine: Engine, *, clock: Clock | None = None) -> FastAPI:
    """The service over a migrated database. `clock` is the system's unless a simulated one is
    given.
    """
    app = FastAPI(title="knowgate", version="0.1.0", docs_url=None, redoc_url=None, default_response_class=DigestedJSON)
    ticking = clock or SystemClock()
    key = hash_key(settings)
    app.state.context = Context(
        settings=settings,
        engine=engine,
        clock=ticking,
        tokens=TokenGate(engine),
        metrics=Metrics(DeploymentCollector(engine, ticking.now)),
        key=SecretKey(key),
        identity=_identity(settings),
        token_rates=Rates(settings.token_rate),
        refusal_rates=Rates(settings.refusal_rate),
        sidecars=Sidecars(hash_key=key, clock=ticking.now),
    )
    install_error_handlers(app)
    app.middleware("http")(_observe)
    for router in (
        decisions.router,
        labels.router,
        decide.router,
        assignments.router,
        bundles.router,
        cascades.router,
        acts.router,
        alerts.router,
        deliveries.router,
        audit.router,
        tokens.router,
        stored_decisions.router,
        service.router,
        health.router,
        routes_open.router,
        routes_sign_in.router,
        routes_reports.router,
        routes.router,
        routes_cascades.router,
        routes_acts.router,
        operations.router,
        routes_of_service.router,
    ):
        app.include_router(router)
    install_openapi(app)
    return app


async def _observe(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    """Counts and times the request by its route's pattern, never by its path, which is the caller's
    to choose.
    """
    if not spans.is_on() or request.url.path in LOOKED_AT:
        return await _counted(request, proceed)
    with spans.span(request.method, Kind.SERVER, {gen_ai.METHOD: request.method}, headers=request.headers) as span:
        assert span is not None
        response = await _counted(request, proceed)
        route = getattr(request.scope.get("route"), "path", None)
        span.note({gen_ai.ROUTE: route, gen_ai.STATUS: response.status_code})
        span.named(f"{request.method} {route or ''}".rstrip())
        if response.status_code >= 500:
            span.failed(str(response.status_code))
        return response


async def _counted(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    started = time.perf_counter()
    status = 500
    try:
        response = await proceed(request)
        status = response.status_code
        return response
    finally:
        route = getattr(request.scope.get("route"), "path", "(none)")
        context: Context = request.app.state.context
        context.metrics.count_request(request.method, route, status, time.perf_counter() - started)
        log.debug("%s %s %d", request.method, route, status)


def _identity(settings: Settings) -> Identity | None:
    """The provider that the settings name; None where they name none. Raises InputInvalid where the
    extra is not installed.
    """
    if settings.oidc_issuer is None:
        return None
    try:
        from services.http.oidc import Provider
    except ImportError as error:
        raise InputInvalid(
            f"KNOWGATE_OIDC_ISSUER is set, but {error.name} is not installed: install the extra oidc"
        ) from None
    return Provider(settings)
