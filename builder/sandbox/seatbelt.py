"""The profile of one action for macOS's sandbox, in its own language (SBPL). Pure.

Denied by default: what an action may do is listed, and each line says why. A profile can name no
host but the machine itself, so hosts are reached through the filtering proxy, whose port on the
loopback is the one address that is open. Source: the profiles that macOS ships in
/System/Library/Sandbox/Profiles, whose language Apple does not document; `sandbox-exec(1)`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Where the system and its developer tools are; /usr/local and /opt belong to users.
SYSTEM = (
    "/System",
    "/Library/Apple",
    "/Library/Developer/CommandLineTools",
    "/Applications/Xcode.app",
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/libexec",
    "/usr/sbin",
    "/usr/share",
    "/private/var/db/dyld",
    "/private/var/select",
)
FILES = (
    "/private/etc/hosts",
    "/private/etc/localtime",
    "/private/etc/protocols",
    "/private/etc/services",
    "/private/etc/ssl/cert.pem",
    "/private/etc/ssl/openssl.cnf",
)
READ_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper")
WRITE_DEVICES = ("/dev/null", "/dev/zero")
# Symbolic links of the root directory, and what every path begins with.
LINKS = (
    *("/", "/dev", "/etc", "/private", "/private/etc", "/private/var", "/usr", "/var"),
    "/tmp",  # noqa: S108 - a name to look at
)
SERVICES = (
    "com.apple.system.opendirectoryd.libinfo",  # getpwuid
    "com.apple.system.notification_center",  # the time zone
)


@dataclass(frozen=True, slots=True)
class Reach:
    """Of the network: all of it, one port of this machine, or, by default, nothing."""

    everything: bool = False
    port: int = 0


def quoted(text: str) -> str:
    """A string literal. Raises ValueError for what none can hold."""
    if "\0" in text or not text.isprintable():
        raise ValueError(f"{text!r} cannot be written in a sandbox profile")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def rule(what: str, *filters: str) -> str:
    return f"(allow {' '.join((what, *filters))})"


def subpaths(paths: Sequence[str]) -> list[str]:
    return [f"(subpath {quoted(path)})" for path in paths]


def literals(paths: Sequence[str]) -> list[str]:
    return [f"(literal {quoted(path)})" for path in paths]


def above(paths: Sequence[str]) -> list[str]:
    """The directories that lead to them, which may be passed but not listed."""
    found: dict[str, None] = {}
    for path in paths:
        parts = path.strip("/").split("/")
        found |= dict.fromkeys("/" + "/".join(parts[:n]) for n in range(1, len(parts)))
    return list(found)


def profile(own: Sequence[str], read_only: Sequence[str], reach: Reach) -> str:
    """`own` are the work tree and the action's /tmp, `read_only` what else of the host it may see;
    both are real paths, without links in them. Raises ValueError."""
    return "".join(line + "\n" for line in _lines(own, read_only, reach))


def _lines(own: Sequence[str], read_only: Sequence[str], reach: Reach) -> Iterator[str]:
    shown = [*SYSTEM, *read_only]
    yield "(version 1)"
    yield "(deny default)"
    # programs: the system's, the declared ones and its own; those they start are in here too
    yield rule("process-fork")
    yield rule("process-exec", *subpaths([*shown, *own]))
    yield rule("process-info*", "(target same-sandbox)")
    yield rule("signal", "(target same-sandbox)")
    # files
    yield rule("file-read*", *subpaths([*shown, *own]), *literals([*FILES, *READ_DEVICES]))
    yield rule("file-map-executable", *subpaths([*shown, *own]))
    passed = dict.fromkeys([*LINKS, *above([*shown, *own])])
    yield rule("file-read-metadata", *literals(list(passed)))
    yield rule("file-write*", *subpaths(own))
    yield rule("file-write-data", *literals(WRITE_DEVICES))
    yield rule("file-ioctl", *literals(["/dev/dtracehelper"]))
    # what every C library asks at its start
    yield rule("sysctl-read")
    yield rule("mach-lookup", *(f"(global-name {quoted(name)})" for name in SERVICES))
    # semaphores and shared memory have names without a place; its own processes need them
    yield rule("ipc-posix-sem")
    yield from _network(reach)


def _network(reach: Reach) -> Iterator[str]:
    if reach.everything:
        yield rule("network*")
        yield rule("system-socket")
        yield rule("mach-lookup", '(global-name "com.apple.mDNSResponder")')
        yield rule("file-read*", '(literal "/private/var/run/resolv.conf")')
    elif reach.port:
        address = quoted(f"localhost:{reach.port}")
        yield rule("network-outbound", f"(remote tcp {address})")
