"""Errors for people become pages."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from builder.base.errors import Code, StatusError

STATUS = {Code.NOT_FOUND: 404, Code.INVALID_ARGUMENT: 400, Code.FAILED_PRECONDITION: 409}


class HasPages(Protocol):
    @property
    def page(self) -> Callable[..., Response]:
        """Renders a template with values."""


Self = TypeVar("Self", bound=HasPages)
Handler = Callable[[Self, Request], Awaitable[Response]]


def told(handler: Handler[Self]) -> Callable[[Any, Request], Awaitable[Response]]:
    """For the methods of whoever has pages: a StatusError is one of them."""

    @wraps(handler)
    async def run(self: Self, request: Request) -> Response:
        try:
            return await handler(self, request)
        except StatusError as error:
            code = STATUS.get(error.code, 500)
            return self.page("error.html", code, message=error.message)

    return run
