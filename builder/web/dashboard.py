"""The pages for people: rendered here, alive by server-sent events, usable without a script.

Everything that comes from clients passes the templates' escaping. The policy forbids inline script
and style and anything of another origin. Forms carry a token that only our own pages know, and a
request that a browser says came from elsewhere is refused.
"""

import json
import secrets
import time
from collections.abc import Sequence
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl

import jinja2
import trio
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from builder.base.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from builder.base.shown import ago
from builder.base.units import format_duration, format_size
from builder.reapi.pb import control_pb2 as pb
from builder.telemetry import telling
from builder.web import fleet, wording
from builder.web.charts import MOST_BARS, Line, gantt, line_chart
from builder.web.errors import told
from builder.web.files import Files
from builder.web.may import may
from builder.web.sight import Sight
from builder.web.timeline import at, bars, critical_path, longest
from builder.web.told import rows_of_tests, sentence, title

TICK_S = 1.0
ROWS = 100  # of a table
SLOWEST = 10
ROWS_OF_PATH = 30
RECENT = 12
LOGS = 5  # of failures, shown at once
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
HERE = {
    "overview.html": "/",
    "invocations.html": "/invocations",
    "actions.html": "/actions",
    "workers.html": "/workers",
    "storage.html": "/storage",
}
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("builder.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["may"] = may
    made.filters.update(
        duration=format_duration, size=format_size, short=telling.short, state=telling.state,
        label=telling.label, seconds=telling.seconds, at=at, digest=telling.short_digest,
        took=wording.took, waited=wording.waited, ran=wording.ran, clock=wording.clock,
        count=wording.count, ago=ago, text=wording.text, tail=wording.tail,
        title=title, sentence=sentence,
    )  # fmt: skip
    return made


def _skip(request: Request) -> int:
    """How many of the newest a page leaves out. Raises InvalidArgumentError."""
    text = request.query_params.get("skip", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidArgumentError(f"skip: {text[:20]!r} is no number of actions")
    return int(text)


class Dashboard:
    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._templates = _environment()
        self._token = secrets.token_urlsafe(24)

    def routes(self) -> list[Route]:
        return [
            Route("/", self.overview),
            Route("/invocations", self.invocations),
            Route("/invocations/{id:path}", self.invocation),
            Route("/actions", self.actions),
            Route("/actions/{id}", self.action),
            Route("/actions/{id}/miss", self.miss),
            Route("/actions/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/actions/{id}/again", self.again, methods=["POST"]),
            *Files(self._sight, self.page).routes(),
            Route("/workers", self.workers),
            Route("/workers/{name}/drain", self.drain, methods=["POST"]),
            Route("/pool/scale", self.scale, methods=["POST"]),
            Route("/storage", self.storage),
            Route("/events", self.events),
            Route("/static/{name}", self.static),
        ]

    def page(self, template: str, code: int = 200, **values: Any) -> Response:
        status = values.pop("status", None) or self._sight.status(details=False)
        html = self._templates.get_template(template).render(
            status=status,
            token=self._token,
            now_s=time.time(),
            figures=_figures(status),
            here=HERE.get(template),
            zone=wording.zone(),
            **values,
        )
        return HTMLResponse(html, code, HEADERS)

    # ---- pages

    async def overview(self, _request: Request) -> Response:
        samples = self._sight.samples()
        times = [sample.at_s for sample in samples]
        charts = [
            line_chart("Throughput", times, [Line("actions/min", [s.per_minute for s in samples])]),
            line_chart("Cache hits", times, [Line("hit rate", [s.hit_rate for s in samples])], "%"),
            line_chart(
                "Queue",
                times,
                [
                    Line("pending", [s.pending for s in samples]),
                    Line("executing", [s.executing for s in samples]),
                ],
            ),
            line_chart(
                "Load",
                times,
                [
                    Line("utilisation", [s.utilisation for s in samples]),
                    Line("predicted", [s.predicted for s in samples]),
                ],
                "%",
            ),
            line_chart(
                "Workers",
                times,
                [
                    Line("connected", [s.workers for s in samples]),
                    Line("wanted", [s.desired for s in samples]),
                ],
            ),
        ]
        recent = self._sight.actions(pb.ListActionsRequest(limit=RECENT)).actions
        return self.page("overview.html", charts=charts, actions=recent)

    @told
    async def invocations(self, request: Request) -> Response:
        skip = _skip(request)
        tallies, builds = self._sight.tallies(), {one.id: one for one in self._sight.builds()}
        known = {one.id for one in tallies}
        return self.page(
            "invocations.html",
            invocations=tallies[skip : skip + ROWS],
            total=len(tallies),
            skip=skip,
            rows=ROWS,
            builds=builds,
            others=[one for id_, one in builds.items() if id_ not in known],
        )

    @told
    async def invocation(self, request: Request) -> Response:
        id_, skip = request.path_params["id"], _skip(request)
        tallies, build = self._sight.tallies(id_), self._sight.build(id_)
        if not tallies and build is None:
            raise NotFoundError("no action of this invocation is known, and it told nothing")

        def some(limit: int, **which: Any) -> Sequence[pb.Action]:
            wanted = pb.ListActionsRequest(invocation=id_, limit=limit, **which)
            return self._sight.actions(wanted).actions

        newest = some(MOST_BARS, ran=True)
        failures = some(ROWS, failures=True) if tallies and tallies[0].failed else []
        path = critical_path(newest)
        return self.page(
            "invocation.html",
            id=id_,
            invocation=tallies[0] if tallies else None,
            told=build,
            tests=rows_of_tests(build) if build is not None else (),
            chart=gantt(bars(newest, time.time())),
            path=longest(path, ROWS_OF_PATH),
            path_length=len(path),
            path_s=sum(telling.took(action, 0) for action in path),
            slowest=some(SLOWEST, slowest=True),
            failures=failures,
            logs=[await self._sight.action(telling.short(one)) for one in failures[:LOGS]],
            actions=some(ROWS, skip=skip),
            skip=skip,
            rows=ROWS,
        )

    @told
    async def actions(self, request: Request) -> Response:
        failures, skip = request.query_params.get("show") == "failures", _skip(request)
        worker = request.query_params.get("worker", "")
        wanted = pb.ListActionsRequest(limit=ROWS, failures=failures, worker=worker, skip=skip)
        found = self._sight.actions(wanted)
        return self.page(
            "actions.html", found=found, failures=failures, worker=worker, skip=skip, rows=ROWS
        )

    @told
    async def action(self, request: Request) -> Response:
        details = await self._sight.action(request.path_params["id"])
        return self.page(
            "action.html",
            details=details,
            action=details.summary,
            stages=telling.stage_seconds(details),
        )

    @told
    async def miss(self, request: Request) -> Response:
        return self.page("miss.html", answer=await self._sight.explain(request.path_params["id"]))

    @told
    async def workers(self, request: Request) -> Response:
        status, skip = self._sight.status(details=True), _skip(request)
        running: dict[str, list[pb.Action]] = {}
        for action in status.action:
            running.setdefault(action.worker, []).append(action)
        show = request.query_params.get("show", "")
        found = fleet.shown(status.worker, show)
        return self.page(
            "workers.html",
            status=status,
            running=running,
            decisions=self._sight.decisions(),
            workers=found[skip : skip + ROWS],
            total=len(found),
            states=fleet.states(status.worker),
            show=show,
            skip=skip,
            rows=ROWS,
        )

    async def storage(self, _request: Request) -> Response:
        return self.page("storage.html", status=self._sight.status(details=True))

    # ---- what steers

    @told
    async def cancel(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        await self._check(request)
        self._sight.cancel(id_)
        return RedirectResponse(f"/actions/{id_}", 303)

    @told
    async def again(self, request: Request) -> Response:
        await self._check(request)
        operation = await self._sight.again(request.path_params["id"])
        return RedirectResponse(f"/actions/{operation.rpartition('/')[2]}", 303)

    @told
    async def drain(self, request: Request) -> Response:
        await self._check(request)
        self._sight.drain(request.path_params["name"])
        return RedirectResponse("/workers", 303)

    @told
    async def scale(self, request: Request) -> Response:
        form = await self._check(request)
        text = form.get("workers", "")
        if text and not (text.isascii() and text.isdigit() and len(text) < 6):
            raise InvalidArgumentError(f"{text[:20]!r} is no number of workers")
        self._sight.scale(form.get("pool", ""), int(text) if text else None)
        return RedirectResponse("/workers", 303)

    async def _check(self, request: Request) -> dict[str, str]:
        """The form of a request that one of our pages has made. Raises StatusError."""
        body = await request.body()
        form = dict(parse_qsl(body.decode("latin-1"), max_num_fields=20)) if body else {}
        site = request.headers.get("sec-fetch-site", "same-origin")
        given = form.get("token", "").encode()
        if site != "same-origin" or not secrets.compare_digest(given, self._token.encode()):
            raise FailedPreconditionError("this form is old or not ours: load the page again")
        return form

    # ---- what keeps pages alive

    async def events(self, _request: Request) -> Response:
        headers = {**HEADERS, "content-type": "text/event-stream"}
        return StreamingResponse(_Ticks(self._sight), headers=headers)

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        file = resources.files("builder.web") / "static" / name
        if "/" in name or not file.is_file():
            return PlainTextResponse("no such file\n", 404, HEADERS)
        kind = TYPES.get(name.rpartition(".")[2], "text/plain")
        return Response(file.read_bytes(), headers={**HEADERS, "content-type": kind})


class _Ticks:
    """Figures each second, and a number that changes when a page would.

    No generator: whoever reads may leave in the middle, and then nobody closes it.
    """

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._first = True

    def __aiter__(self) -> "_Ticks":
        return self

    async def __anext__(self) -> str:
        if not self._first:
            await trio.sleep(TICK_S)
        self._first = False
        figures = _figures(self._sight.status(details=False))
        return f"data: {json.dumps({'figures': figures, 'version': self._sight.version()})}\n\n"


def _figures(status: pb.Status) -> dict[str, str]:
    """The tiles, by the names that pages have for them."""
    workers, queue, done = status.workers, status.queue, status.executions
    lookups = done.cache_hits + done.cache_misses
    ended = done.succeeded + done.failed
    return {
        "workers": f"{workers.busy} / {workers.total}",
        "utilisation": f"{workers.slots_busy / workers.slots:.0%}" if workers.slots else "-",
        "pending": wording.count(queue.pending),
        "executing": wording.count(queue.executing),
        "completed": wording.count(queue.completed),
        "hits": f"{done.cache_hits / lookups:.1%}" if lookups else "-",
        "success": f"{done.succeeded / ended:.1%}" if ended else "-",
        "health": wording.problems(len(status.problems)),
    }
