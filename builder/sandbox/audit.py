"""What an audited action used, from the record that its auditor left. Classes of names:

input: in the input tree; output: a declared output, below one, or a directory above one;
temp: the private temporary places; system: what every action sees, or all that is in its image;
outside: everything else, which is what the action's description lacks, or what it should not use.
"""

import os
import posixpath
from collections import deque
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

from builder.sandbox.interface import (
    WORK_TREE,
    Access,
    Audit,
    AuditLevel,
    NameClass,
    Network,
    SandboxSpec,
)

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - names inside the sandbox
# of which /sys is never there, which Java and Node.js find out each time
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/etc", "/dev", "/proc", "/sys"),
)
SYSTEM_ITSELF = ("/", "/builder", "/var", "/run")
OWN_NETWORK = ("127.", "[::1]:", "unix:@")  # where it has a network namespace
SOCKET = "unix:"
NAME_SERVICE = "unix:/var/run/nscd/socket"  # the C library asks for it, and it is never there
FIELDS = 4
MOST_LINKS = 40  # as in path_resolution(7)
COMPLETE, CUT = "end", "blind"
CONNECT, EXECUTE, LOOK, READ, WRITE = "connect", "execute", "look", "read", "write"
USES = frozenset({CONNECT, EXECUTE, LOOK, READ, WRITE})
PRECOMPILED = ".gch"  # gcc looks for one beside every header


def below(path: str, places: tuple[str, ...]) -> bool:
    return (path + "/").startswith(prefixes(places))


@lru_cache(maxsize=256)
def prefixes(places: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{place}/" for place in places)


@dataclass(frozen=True, slots=True)
class Judge:
    """Classes names by what an action has declared."""

    spec: SandboxSpec
    shown: tuple[str, ...]  # host paths that the worker's configuration shows

    def of_address(self, name: str) -> NameClass:
        if name == NAME_SERVICE:
            return NameClass.SYSTEM
        if name.startswith(f"{SOCKET}/"):
            return self.of_path(name.removeprefix(SOCKET))
        own = self.spec.network is not Network.FULL and name.startswith(OWN_NETWORK)
        return NameClass.TEMPORARY if own else NameClass.OUTSIDE

    def plain(self, written: str, made: AbstractSet[str], *, through: bool) -> str:
        """An absolute name without `.` and `..`, nor the links of inputs that the action has left
        as they are; `through` is whether the last name is followed, too."""
        if not written.startswith(f"{WORK_TREE}/"):
            return posixpath.normpath(written)
        done, left, links = "/", deque(written.split("/")), 0
        while left:
            part = left.popleft()
            done = posixpath.normpath(posixpath.join(done, part))
            follows = links < MOST_LINKS and (left or through) and done not in made
            if follows and (target := self._link(done)):
                links += 1
                left.extendleft(reversed(target.split("/")))
                done = "/" if target.startswith("/") else posixpath.dirname(done)
        return done

    def _link(self, name: str) -> str:
        """Where an input leads that is a link; empty for all else."""
        if not name.startswith(f"{WORK_TREE}/"):
            return ""
        try:
            return os.readlink(os.path.join(self.spec.input_root, name[len(WORK_TREE) + 1 :]))
        except OSError:
            return ""

    def of_path(self, name: str) -> NameClass:
        if below(name, (WORK_TREE,)):
            return self._in_tree(posixpath.relpath(name, WORK_TREE))
        if below(name, TEMPORARY):
            return NameClass.TEMPORARY
        if below(name, SYSTEM) or below(name, self.shown) or name in SYSTEM_ITSELF:
            return NameClass.SYSTEM
        if self.spec.layers:
            return NameClass.SYSTEM
        return NameClass.OUTSIDE

    def _in_tree(self, path: str) -> NameClass:
        if path == "." or os.path.lexists(os.path.join(self.spec.input_root, path)):
            return NameClass.INPUT
        if below(path, self.spec.outputs) or any(
            below(output, (path,)) for output in self.spec.outputs
        ):
            return NameClass.OUTPUT
        if below(self.spec.working_directory, (path,)):
            return NameClass.INPUT
        return NameClass.OUTSIDE


def parse(data: bytes) -> tuple[list[tuple[str, bool, str, str]], bool]:
    """(use, was there, program, name) of each record, and whether the last word was said."""
    texts = os.fsdecode(data).split("\0")[:-1]
    rows = list(zip(*[iter(texts)] * FIELDS, strict=False))
    complete = bool(rows) and rows[-1][0] == COMPLETE
    found = [(use, there == "1", by, name) for use, there, by, name in rows if use in USES]
    return found, complete


def is_of(path: str, made: AbstractSet[str]) -> bool:
    """Whether the action has made it, or a directory that it is in."""
    while path not in made:
        if not below(path, (WORK_TREE,)):
            return False
        path = posixpath.dirname(path)
    return True


def judged(
    spec: SandboxSpec, shown: tuple[str, ...], data: bytes, blocked: tuple[str, ...] = ()
) -> Audit:
    """The audit from a record, and from the hosts that the proxy was asked for in vain. A name
    that was written first is the action's own afterwards."""
    rows, complete = parse(data)
    judge, made = Judge(spec, shown), set[str]()
    of_path = lru_cache(maxsize=None)(judge.of_path)
    found: dict[tuple[str, str, str], Access] = {}
    for use, there, program, written in rows:
        name = written
        if written.startswith("/"):
            name = judge.plain(written, made, through=use in (READ, EXECUTE))
        if name.endswith(PRECOMPILED) and not there:
            continue
        kind = judge.of_address(name) if use == CONNECT else of_path(name)
        if use == WRITE:
            made.add(name)
        elif kind is NameClass.OUTSIDE and is_of(name.removeprefix(SOCKET), made):
            kind = NameClass.TEMPORARY
        found.setdefault((use, name, program), Access(name, use, kind, program, there))
    refused = (Access(name, CONNECT, NameClass.OUTSIDE, "proxy", True) for name in blocked)
    return Audit(spec.audit or AuditLevel.FULL, complete, (*found.values(), *refused))


def read(spec: SandboxSpec, shown: tuple[str, ...], blocked: tuple[str, ...]) -> Audit | None:
    """What the record in the scratch directory says; None for an action that is not audited."""
    if spec.audit is None:
        return None
    try:
        with open(os.path.join(spec.scratch, "audit"), "rb") as file:
            data = file.read()  # its writer has bounded it
    except FileNotFoundError:
        data = b""
    return judged(spec, shown, data, blocked)
