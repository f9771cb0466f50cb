"""The three routes that operators' tools ask for: alive, ready, and metrics."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from firsthop.telemetry.metrics import CONTENT_TYPE, Metrics


def routes(metrics: Metrics, problem: Callable[[], str | None]) -> APIRouter:
    """Return /healthz, /readyz and /metrics; `problem` says why the part is not ready, or None."""
    router = APIRouter(tags=["operations"])

    # Some balancers and monitors ask by HEAD.
    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Tell that the process answers."""
        return "ok\n"

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz")
    async def readyz() -> Response:
        """Tell whether new calls are welcome: 200, or 503 with the reason."""
        reason = problem()
        if reason is None:
            return JSONResponse({"ready": True})
        return JSONResponse({"ready": False, "reason": reason}, status_code=503)

    @router.get("/metrics")
    async def read_metrics() -> Response:
        """Return the metrics in Prometheus' text format."""
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return router
