"""What an action may use, written as platform properties, which are part of its digest.

REAPI v2 has fields for none of these, so they are properties of our own, that no pool has to
declare: `max-memory` (`2GiB`), `max-disk` (`10GiB`, of all that is written in the work tree),
`max-cpu` (cores, `1.5`), `max-cpu-time` (`30s`, of all processes together), `max-processes` (with
threads, at a time), `network` (`none`, `full`, or
the hosts that may be reached: `pypi.org,*.debian.org`), `deterministic` (`true`: what differs
between two runs is made the same where it can be), `wall-clock` (`fixed`, a moment of RFC 3339, or
seconds since 1970: where programs see the wall clock stand still), `programs`
(`sh,/usr/bin/gcc,tools/`: which alone it may execute), `inputs-as-root` (`true`: it sees its inputs
and nothing of the worker's system), `audit` (`cheap` or `full`: the result then tells what the
action used beyond what it declared) and `sandbox-reuse` (a trust domain, `ci`: where the worker
allows it, the action may have the sandbox of another one of the same domain). BuildStream writes a
network `on`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from builder.base.errors import InvalidArgumentError, UsageError
from builder.base.hosts import checked
from builder.base.moments import format_moment, parse_moment
from builder.base.units import parse_duration, parse_size

MAX_MEMORY = "max-memory"
MAX_CPU = "max-cpu"
NETWORK = "network"
NONE, FULL = "none", "full"
ALSO = {"off": NONE, "on": FULL}
MAX_DISK = "max-disk"
MAX_PROCESSES = "max-processes"
MAX_CPU_TIME = "max-cpu-time"
AUDIT = "audit"
DETERMINISTIC = "deterministic"
PROGRAMS = "programs"
INPUTS_AS_ROOT = "inputs-as-root"
REUSE = "sandbox-reuse"
WALL_CLOCK = "wall-clock"
DOMAIN = re.compile(r"[A-Za-z0-9._/@+-]{1,128}")
AUDIT_LEVELS = ("cheap", "full")
LIMIT_PROPERTIES = frozenset(
    {MAX_MEMORY, MAX_CPU, MAX_CPU_TIME, MAX_DISK, MAX_PROCESSES, NETWORK, AUDIT, DETERMINISTIC}
    | {PROGRAMS, INPUTS_AS_ROOT, REUSE, WALL_CLOCK}
)  # never used to choose a pool


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """What the client asks for; None leaves it to the worker. `network` is all of it, none, or
    these hosts."""

    memory_bytes: int | None = None
    cpu_cores: float | None = None
    network: bool | tuple[str, ...] | None = None
    audit: str | None = None
    disk_bytes: int | None = None
    processes: int | None = None
    deterministic: bool = False
    cpu_s: float | None = None
    programs: tuple[str, ...] = ()
    inputs_as_root: bool = False
    reuse: str = ""  # a trust domain
    clock: int | None = None  # seconds since 1970

    def properties(self) -> list[tuple[str, str]]:
        """The same limits give the same text, however they were written down."""
        said: dict[str, object] = {
            MAX_MEMORY: self.memory_bytes,
            MAX_CPU: None if self.cpu_cores is None else f"{self.cpu_cores:g}",
            NETWORK: None if self.network is None else network_text(self.network),
            MAX_DISK: self.disk_bytes,
            MAX_PROCESSES: self.processes,
            AUDIT: self.audit,
            DETERMINISTIC: "true" if self.deterministic else None,
            MAX_CPU_TIME: None if self.cpu_s is None else f"{self.cpu_s:g}s",
            PROGRAMS: ",".join(sorted(self.programs)) or None,
            INPUTS_AS_ROOT: "true" if self.inputs_as_root else None,
            REUSE: self.reuse or None,
            WALL_CLOCK: None if self.clock is None else format_moment(self.clock),
        }
        return [(name, str(text)) for name, text in said.items() if text is not None]


def action_limits(properties: Iterable[tuple[str, str]]) -> ActionLimits:
    """Raises InvalidArgumentError that names the property and its right form."""
    given = dict(properties)
    audit = given.get(AUDIT)
    if audit not in (None, *AUDIT_LEVELS):
        raise InvalidArgumentError(f"property {AUDIT} is {audit!r}: use cheap or full")
    return ActionLimits(
        _size(given, MAX_MEMORY, "nothing runs in no memory"),
        _cores(given[MAX_CPU]) if MAX_CPU in given else None,
        _network(given[NETWORK]) if NETWORK in given else None,
        audit,
        _size(given, MAX_DISK, "nothing can be written to no disk"),
        _processes(given[MAX_PROCESSES]) if MAX_PROCESSES in given else None,
        _flag(given, DETERMINISTIC),
        _duration(given, MAX_CPU_TIME),
        _programs(given[PROGRAMS]) if PROGRAMS in given else (),
        _flag(given, INPUTS_AS_ROOT),
        _domain(given[REUSE]) if REUSE in given else "",
        _moment(given[WALL_CLOCK]) if WALL_CLOCK in given else None,
    )


def _programs(text: str) -> tuple[str, ...]:
    found = tuple(sorted(set(text.split(","))))
    if "" in found or "\0" in text:
        raise InvalidArgumentError(
            f"property {PROGRAMS} is {text!r}: use names and paths, for example sh,/usr/bin/gcc"
        )
    return found


def _domain(text: str) -> str:
    if not DOMAIN.fullmatch(text):
        raise InvalidArgumentError(
            f"property {REUSE} is {text!r}: name a trust domain, for example ci, by letters, "
            "digits and ._/@+-"
        )
    return text


def _moment(text: str) -> int:
    try:
        return parse_moment(text)
    except UsageError as error:
        raise InvalidArgumentError(f"property {WALL_CLOCK}: {error}") from None


def _duration(given: Mapping[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        found = parse_duration(given[name])
    except UsageError as error:
        raise InvalidArgumentError(f"property {name}: {error}") from None
    if found <= 0:
        raise InvalidArgumentError(f"property {name} is {given[name]!r}: nothing runs in no time")
    return found


def _flag(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidArgumentError(f"property {name} is {text!r}: use true or false")
    return text == "true"


def network_text(network: bool | tuple[str, ...]) -> str:
    """As the property says it."""
    if isinstance(network, tuple) and network:
        return ",".join(sorted(network))
    return FULL if network is True else NONE


def _network(text: str) -> bool | tuple[str, ...]:
    text = ALSO.get(text, text)
    if text in (NONE, FULL):
        return text == FULL
    try:
        return checked(text.split(","))
    except InvalidArgumentError as error:
        wanted = f"use {NONE}, {FULL}, or hosts"
        raise InvalidArgumentError(f"property {NETWORK}: {error}; {wanted}") from None


def _size(given: Mapping[str, str], name: str, none: str) -> int | None:
    if name not in given:
        return None
    try:
        size = parse_size(given[name])
    except UsageError as error:
        raise InvalidArgumentError(f"property {name}: {error}") from None
    if size <= 0:
        raise InvalidArgumentError(f"property {name} is {given[name]!r}: {none}")
    return size


def _processes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:10]) < 10**9):
        message = f"property {MAX_PROCESSES} is {text!r}: use a number from 1, for example 100"
        raise InvalidArgumentError(message)
    return int(text)


def _cores(text: str) -> float:
    try:
        cores = float(text)
    except ValueError:
        cores = 0.0
    if not 0 < cores < 100_000:
        raise InvalidArgumentError(f"property {MAX_CPU} is {text!r}: use cores, for example 1.5")
    return cores
