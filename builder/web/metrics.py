"""The metrics port: Prometheus' text, health for orchestrators, and a page for people."""

from collections.abc import Callable, Sequence
from html import escape

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

Section = tuple[str, Sequence[tuple[str, str]]]  # a title, and rows of name and figure

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<title>Builder</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 48rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ border-bottom: 1px solid #ddd; padding: .2rem .5rem; }} td + td {{ text-align: right; }}
h2 {{ font-size: 1rem; margin: 1.5rem 0 .3rem; }}
</style></head><body><h1>Builder</h1>
{sections}
<p><a href="/metrics">metrics</a> &middot; <a href="/healthz">health</a>
&middot; <a href="/readyz">readiness</a></p></body></html>
"""


class MetricsPages:
    """`ready` says whether work is taken; `sections` is what `builder remote status` prints."""

    def __init__(
        self,
        registry: CollectorRegistry,
        ready: Callable[[], bool],
        sections: Callable[[], Sequence[Section]],
    ) -> None:
        self._registry = registry
        self._ready = ready
        self._sections = sections

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/metrics", self.metrics),
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                Route("/", self.page),
            ]
        )

    async def metrics(self, _request: Request) -> Response:
        return Response(
            generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST}
        )

    async def healthz(self, _request: Request) -> Response:
        """Alive: it answers."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _request: Request) -> Response:
        """200 while work is taken, 503 before and while draining."""
        if self._ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready: starting or draining\n", status_code=503)

    async def page(self, _request: Request) -> Response:
        return HTMLResponse(PAGE.format(sections="\n".join(map(_table, self._sections()))))


def _table(section: Section) -> str:
    title, rows = section
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(figure)}</td></tr>" for name, figure in rows
    )
    return f"<h2>{escape(title)}</h2><table>{body}</table>"
