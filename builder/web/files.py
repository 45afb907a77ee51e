"""The files of an action: its inputs and outputs as folders to walk through, each file to save.

What clients have stored is bytes to a browser and never a page: it comes as a download, under a
policy that lets nothing of it run.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from builder.base.errors import NotFoundError
from builder.web.errors import told
from builder.web.sight import Found, Sight

HEADERS = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
STREAMS = ("stdout", "stderr")
Page = Callable[..., Response]


class Files:
    """`page` renders a template in the frame of all pages."""

    def __init__(self, sight: Sight, page: Page) -> None:
        self._sight = sight
        self.page = page

    def routes(self) -> list[Route]:
        return [
            Route("/actions/{id}/inputs/{path:path}", self.inputs),
            Route("/actions/{id}/outputs/{path:path}", self.outputs),
            Route("/actions/{id}/output/{stream}", self.output),
        ]

    @told
    async def inputs(self, request: Request) -> Response:
        id_, path = request.path_params["id"], request.path_params["path"]
        return self._answer("inputs", id_, path, await self._sight.inputs(id_, path))

    @told
    async def outputs(self, request: Request) -> Response:
        id_, path = request.path_params["id"], request.path_params["path"]
        return self._answer("outputs", id_, path, await self._sight.outputs(id_, path))

    @told
    async def output(self, request: Request) -> Response:
        """What it writes, as it writes it; the answer ends when the action has."""
        stream = request.path_params["stream"]
        if stream not in STREAMS:
            raise NotFoundError(f"an action writes to {' and '.join(STREAMS)}")
        pieces = await self._sight.output(request.path_params["id"], stream)
        headers = {**HEADERS, "content-type": "text/plain; charset=utf-8"}
        return StreamingResponse(_closing(pieces), headers=headers)

    def _answer(self, which: str, id_: str, path: str, found: Found) -> Response:
        if found.file is None:
            parts = [name for name in path.split("/") if name]
            return self.page("files.html", which=which, id=id_, parts=parts, entries=found.entries)
        name = path.rstrip("/").rpartition("/")[2] or "file"
        headers = {
            **HEADERS,
            "content-type": "application/octet-stream",
            "content-length": str(found.file.size_bytes),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        }
        return StreamingResponse(_closing(self._sight.read(id_, found.file)), headers=headers)


async def _closing(pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
