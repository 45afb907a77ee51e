"""What who serves may know of calls and connections, and who may call."""

from collections.abc import Callable
from dataclasses import dataclass

from builder.net.rpc import Context

Authorize = Callable[[Context], None]
Observe = Callable[[str, int, float, int], None]
Ended = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the server calls for each call, if set.

    `authorize` raises a StatusError to refuse it; for calls of one connection that have the very
    same headers it is asked once. `observe` gets the path, the gRPC code, the seconds, and of how
    many calls: those of one path that one receive brought and that were answered in place are told
    together. `ended` gets the HTTP/2 error code of each connection that broke the protocol or a
    limit; `limit_hit` the field of `wire.limits.Limits` that refused a call, or a connection.
    """

    authorize: Authorize | None = None
    observe: Observe | None = None
    ended: Ended = lambda _code: None
    limit_hit: Callable[[str], None] = lambda _limit: None
