"""How a registry says that it wants to know who asks.

    WWW-Authenticate: Bearer realm="https://auth.example.org/token",service="...",scope="..."

Sources: RFC 9110 section 11.6.1; distribution specification, "Token Authentication".
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` is in lower case."""

    scheme: str
    parameters: dict[str, str]


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """Those of all WWW-Authenticate headers, in their order."""
    from urllib.request import parse_http_list  # late: it brings a whole HTTP client

    found: list[Challenge] = []
    for header in headers:
        for item in parse_http_list(header):
            first, _, rest = item.partition(" ")
            if "=" not in first:  # a scheme, perhaps with its first parameter
                found.append(Challenge(first.lower(), {}))
                item = rest.strip()
            name, sign, value = item.partition("=")
            if found and sign:
                found[-1].parameters[name.strip().lower()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
        return value
    return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
