"""The kinds of values that a setting can have, beyond plain text, numbers and flags.

The filler goes by these types: a field of type Seconds takes `30s`, one of type Bytes `2GiB`.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import Annotated, TypeAlias

from builder.base.errors import UsageError


class Kind(Enum):
    """What the schema calls them, under `$defs`."""

    DURATION = "duration"
    SIZE = "size"
    PATH = "path"


Seconds: TypeAlias = Annotated[float, Kind.DURATION]
Bytes: TypeAlias = Annotated[int, Kind.SIZE]
FilePath: TypeAlias = Annotated[str, Kind.PATH]  # absolute once loaded; relative to the config file

LOOPBACK = "127.0.0.1"
ADDRESS = re.compile(r"(?:(grpcs?)://)?(?:(?:\[([0-9a-fA-F:.]+)\]|([^:/\s\[\]]*)):)?(\d{1,5})")
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or whom to dial. `tls` is what `grpcs://` asks for."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'grpcs://' if self.tls else ''}{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody outside this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:  # a name
            return self.host == "localhost"


def parse_address(text: str | int) -> Address:
    """`host:port`, `[v6]:port`, and `:port` or `port` alone, which mean loopback.

    Port 0 lets the system choose. Raises UsageError.
    """
    match = ADDRESS.fullmatch(str(text).strip())
    if match is None:
        raise UsageError(f"{text!r} is not an address: write for example {LOOPBACK}:9000 or :9000")
    scheme, v6, name, port = match.groups()
    if int(port) > 65535:
        raise UsageError(f"{text!r} is not an address: ports end at 65535")
    return Address(v6 or name or LOOPBACK, int(port), scheme == "grpcs")


COORDINATOR = Address(LOOPBACK, 9000)
REAPI = Address(LOOPBACK, 9001)
ARTIFACTS = Address(LOOPBACK, 8080)
METRICS = Address(LOOPBACK, 9090)


@dataclass(frozen=True, slots=True)
class Secret:
    """Text that never shows itself; `reveal` it only where it is used."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        return self._text

    def __str__(self) -> str:
        return HIDDEN
