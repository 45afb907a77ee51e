"""Hosts that a network may be allowed to reach, as people write them: `example.org` means the
usual ports of HTTP and HTTPS there, `example.org:8443` that one, `*.example.org` every name below.
"""

import re
from collections.abc import Iterable

from builder.base.errors import InvalidArgumentError

USUAL_PORTS = (80, 443)
HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")


def checked(hosts: Iterable[str]) -> tuple[str, ...]:
    """Sorted, in lower case, each once. Raises InvalidArgumentError that names the wrong one."""
    found = sorted({host.strip().lower() for host in hosts})
    for host in found:
        if not HOST.fullmatch(host):
            raise InvalidArgumentError(
                f"{host!r} is no host that a network can be allowed to reach; write "
                "'example.org', '*.example.org' or 'example.org:8443'"
            )
    return tuple(found)


def allows(allowed: Iterable[str], host: str, port: int) -> bool:
    """Whether one of the checked hosts is meant by this name and port."""
    name = host.lower().rstrip(".")
    for entry in allowed:
        known, _, own_port = entry.partition(":")
        fits = name == known
        if known.startswith("*."):
            fits = name.endswith(known[1:]) and len(name) > len(known) - 1
        if fits and (port == int(own_port) if own_port else port in USUAL_PORTS):
            return True
    return False
