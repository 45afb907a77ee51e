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


@dataclass(frozen=True, slots=True)
class Late:
    """In an annotation: a section whose class is imported where somebody sets it."""

    module: str
    name: str


Seconds: TypeAlias = Annotated[float, Kind.DURATION]
Bytes: TypeAlias = Annotated[int, Kind.SIZE]
FilePath: TypeAlias = Annotated[str, Kind.PATH]  # absolute once loaded; relative to the config file

LOOPBACK = "127.0.0.1"
UNIX = "unix:"
ADDRESS = re.compile(r"(?:(grpcs?)://)?(?:(?:\[([0-9a-fA-F:.]+)\]|([^:/\s\[\]]*)):)?(\d{1,5})")
LONGEST_SOCKET_PATH = 107  # bytes; unix(7)
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or whom to dial. `tls` is what `grpcs://` asks for.

    A Unix socket has a `path`, and no host or port.
    """

    host: str
    port: int
    tls: bool = False
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"{UNIX}{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'grpcs://' if self.tls else ''}{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody outside this machine can reach it."""
        if self.path:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:  # a name
            return self.host == "localhost"


def parse_address(text: str | int) -> Address:
    """`host:port`, `[v6]:port`, `:port` or `port` alone, which mean loopback; `unix:/path`.

    Port 0 lets the system choose. Raises UsageError.
    """
    plain = str(text).strip()
    if plain.startswith(UNIX):
        return Address("", 0, path=_socket_path(plain.removeprefix(UNIX)))
    match = ADDRESS.fullmatch(plain)
    if match is None:
        raise UsageError(f"{text!r} is not an address: write for example {LOOPBACK}:9000 or :9000")
    scheme, v6, name, port = match.groups()
    if int(port) > 65535:
        raise UsageError(f"{text!r} is not an address: ports end at 65535")
    return Address(v6 or name or LOOPBACK, int(port), scheme == "grpcs")


def _socket_path(path: str) -> str:
    """Raises UsageError for what the system would not take."""
    if not path.startswith("/") or len(path.encode()) > LONGEST_SOCKET_PATH:
        raise UsageError(
            f"{path!r} is no path of a Unix socket: write unix:/absolute/path of at most "
            f"{LONGEST_SOCKET_PATH} bytes"
        )
    return path


COORDINATOR = Address(LOOPBACK, 9000)
REAPI = Address(LOOPBACK, 9001)
ARTIFACTS = Address(LOOPBACK, 8080)
METRICS = Address(LOOPBACK, 9090)
ANY_PORT = Address(LOOPBACK, 0)


@dataclass(frozen=True, slots=True)
class Secret:
    """Text that never shows itself; `reveal` it only where it is used."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        return self._text

    def __str__(self) -> str:
        return HIDDEN
