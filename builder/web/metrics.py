"""The metrics port: Prometheus' text, health for orchestrators, and the pages for people."""

from collections.abc import Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from builder.web.dashboard import Dashboard
from builder.web.sight import Sight


class MetricsPages:
    """`ready` says whether work is taken; `problems` are sentences on what is wrong."""

    def __init__(
        self,
        registry: CollectorRegistry,
        ready: Callable[[], bool],
        problems: Callable[[], Sequence[str]],
        sight: Sight,
    ) -> None:
        self._registry = registry
        self._ready = ready
        self._problems = problems
        self._dashboard = Dashboard(sight)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/metrics", self.metrics),
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                *self._dashboard.routes(),
            ]
        )

    async def metrics(self, _request: Request) -> Response:
        return Response(
            generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST}
        )

    async def healthz(self, _request: Request) -> Response:
        """Alive: it answers. What is wrong all the same stands below."""
        return PlainTextResponse("\n".join(["ok", *self._problems()]) + "\n")

    async def readyz(self, _request: Request) -> Response:
        """200 while work is taken, 503 while it is not; what is wrong stands below."""
        if self._ready():
            return PlainTextResponse("\n".join(["ready", *self._problems()]) + "\n")
        why = self._problems() or ["starting or draining"]
        return PlainTextResponse("\n".join(["not ready", *why]) + "\n", status_code=503)
