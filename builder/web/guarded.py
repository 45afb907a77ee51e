"""HTTP requests pass the gate before an application sees them."""

from collections.abc import Callable
from typing import Any

from starlette.responses import PlainTextResponse

from builder.base.errors import StatusError, UnauthenticatedError
from builder.web.may import MAY
from builder.web.serving import App, client_name

Check = Callable[[str, str, str | None, str], None]  # method, path, authorization, certificate


def guarded(app: App, check: Check) -> App:
    """`check` raises UnauthenticatedError (401) or PermissionDeniedError (403)."""

    async def pass_or_refuse(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        authorization = given[0].decode("latin-1") if given else None
        identity = client_name()
        try:
            check(scope["method"], scope["path"], authorization, identity)
        except StatusError as error:
            await _refusal(error)(scope, receive, send)
            return

        def may_post(path: str) -> bool:
            try:
                check("POST", path, authorization, identity)
            except StatusError:
                return False
            return True

        before = MAY.set(may_post)
        try:
            await app(scope, receive, send)
        finally:
            MAY.reset(before)

    return pass_or_refuse


def _refusal(error: StatusError) -> PlainTextResponse:
    if isinstance(error, UnauthenticatedError):
        headers = {"www-authenticate": 'Bearer realm="builder", Basic realm="builder"'}
        return PlainTextResponse(f"{error.message}\n", status_code=401, headers=headers)
    return PlainTextResponse(f"{error.message}\n", status_code=403)
