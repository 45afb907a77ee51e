"""Which programs an action may execute: a list, kept by Landlock, whose refusals are told.

The kernel refuses to execute what is not on it: a file on it, or a file below a directory on it,
under whatever name. The loaders of dynamic programs are always on it, because the kernel executes
them on a program's behalf; so is, through them, a program of the action's own making that they are
told to load. It is a rule for builds that reach for tools which nobody declared, and none
against a program that reads another's file into its memory and jumps there.
"""

import os

from builder.sandbox.kernel import landlock

LOADER = b"ld-"
LIBRARIES = (b"/lib", b"/lib64", b"/lib32", b"/libx32")
MOST_TOLD = 20


def loaders() -> "list[bytes]":
    """The dynamic loaders that are here."""
    found = []
    for top in LIBRARIES:
        for directory in (top, *below(top)):
            found += [directory + b"/" + n for n in names_in(directory) if n.startswith(LOADER)]
    return found


def names_in(directory: bytes) -> "list[bytes]":
    try:
        return os.listdir(directory)
    except OSError:
        return []


def below(top: bytes) -> "list[bytes]":
    """Directories such as /lib/x86_64-linux-gnu."""
    return [top + b"/" + name for name in names_in(top) if b"-linux-" in name]


class Programs:
    """`wanted` are paths, absolute or below `place`, and names to be found on `path`."""

    def __init__(self, wanted: "list[bytes]", place: bytes, path: bytes) -> None:
        self._wanted, self._place, self._path = wanted, place, path.split(b":")
        self._found: list[bytes] | None = None
        self._told: list[bytes] = []

    def _real(self) -> "list[bytes]":
        """Where they are. Looked for when that is asked: the work tree comes late."""
        if self._found is None:
            at = [os.path.join(self._place, name) for name in self._wanted]
            for name in self._wanted:
                if b"/" not in name:
                    at += [os.path.join(self._place, d, name) for d in self._path]
            self._found = [os.path.realpath(one) for one in at if os.path.exists(one)]
        return self._found

    def put_on(self) -> None:
        """Confine this process and its children, for good. Raises OSError."""
        rules = landlock.Rules(landlock.version(), landlock.EXECUTE)
        rules.put_on([(landlock.LOOK, path) for path in (*self._real(), *loaders())])

    def refuses(self, program: bytes) -> bool:
        """Whether it is there, and not on the list."""
        real = os.path.realpath(program)
        listed = any(real == one or real.startswith(one + b"/") for one in self._real())
        return not listed and os.path.isfile(program)

    def see(self, program: bytes) -> None:
        """Something is about to be executed, and may be refused."""
        if len(self._told) < MOST_TOLD and self.refuses(program):
            real = os.path.realpath(program)
            self._told += [] if real in self._told else [real]

    def refused(self) -> bytes:
        """The first of them, for people."""
        return b", ".join(self._told)
