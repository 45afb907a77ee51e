"""A port on loopback answers to its own names only.

A page of another site may have its name point to 127.0.0.1 (DNS rebinding); to a browser on this
machine our answers are then that site's own. Such requests still name that site in `Host`
(RFC 9110, 7.2), so what names neither loopback nor a number is refused: 421.
"""

from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from starlette.responses import PlainTextResponse

from builder.web.serving import App


def is_own(host: str, names: Collection[str]) -> bool:
    """Whether a value of `Host` is one of ours: addresses, localhost, and `names`."""
    name = host.lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    else:
        name = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
    name = name.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost") or name in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def named(app: App, names: Collection[str]) -> App:
    """`app`, for requests to one of our names; no browser leaves `Host` out."""
    own = frozenset(name.lower() for name in names)

    async def pass_or_refuse(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            given = [value for name, value in scope["headers"] if name.lower() == b"host"]
            strange = next((h for h in given if not is_own(h.decode("latin-1"), own)), None)
            if strange is not None:
                message = (
                    f"this port is on loopback and has no name {strange.decode('latin-1')!r}; "
                    "a proxy in front may be named in metrics.hosts or artifacts.hosts\n"
                )
                await PlainTextResponse(message, 421)(scope, receive, send)
                return
        await app(scope, receive, send)

    return pass_or_refuse
