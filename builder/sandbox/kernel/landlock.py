"""Landlock: what a process and its children may do beneath which directories.

A second layer behind the mounts, with rules of its own: where those show a directory for reading
only, it refuses to write there too, and where there are no mounts it is the only layer of files.
Nobody can take it off, nor change mounts under it. From its sixth version on a process cannot
reach abstract sockets nor send signals out of it. It does not hide names, sizes and modes.

See landlock(7) and Documentation/userspace-api/landlock.rst.
"""

import os

from builder.sandbox.kernel.syscalls import call

OLDEST = 2  # the first version without which no file could be moved to another directory
WITH_TRUNCATE, WITH_NETWORK, WITH_SCOPES = 3, 4, 6
ASK_VERSION = 1
PATH_BENEATH = 1
EINVAL = 22

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
READ = EXECUTE | READ_FILE | READ_DIR
MAKE_CHAR, MAKE_BLOCK, REFER, TRUNCATE = 1 << 6, 1 << 11, 1 << 13, 1 << 14
CHANGE = sum(1 << bit for bit in range(4, 14)) | WRITE_FILE  # all that makes, removes and moves
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1, 2

LOOK, USE, OWN = "look", "use", "own"  # to read and run; also to write what is there; everything
OWNED = READ | CHANGE & ~(MAKE_CHAR | MAKE_BLOCK)
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE


def version() -> int:
    """Of this kernel's Landlock; 0 where it has none, or it is switched off."""
    try:
        return call("landlock_create_ruleset", None, 0, ASK_VERSION)
    except OSError:
        return 0


class Rules:
    """What is handled, in the words of this kernel's version. `handled` rights are refused
    wherever no rule allows them."""

    def __init__(self, abi: int, handled: int) -> None:
        truncate = TRUNCATE if abi >= WITH_TRUNCATE and handled & WRITE_FILE else 0
        self._handled = handled | truncate
        self._rights = {
            LOOK: READ & handled,
            USE: (READ | WRITE_FILE) & handled | truncate,
            OWN: OWNED & handled | truncate,
        }
        words = [self._handled]
        if abi >= WITH_NETWORK:
            words.append(0)
        if abi >= WITH_SCOPES:
            words.append(SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS)
        self._attributes = b"".join(word.to_bytes(8, "little") for word in words)

    def put_on(self, allowed: "list[tuple[str, bytes]]") -> None:
        """Confine this process and its children, for good; needs no_new_privs.

        `allowed` are pairs of what and where. A mount hides the directory that it is on: for what
        is mounted later the rule belongs to the directory above. Raises OSError.
        """
        attributes = self._attributes
        rules = call("landlock_create_ruleset", attributes, len(attributes), 0)
        try:
            for use, path in allowed:
                self._allow(rules, self._rights[use], path)
            call("landlock_restrict_self", rules, 0)
        finally:
            os.close(rules)

    def _allow(self, rules: int, rights: int, path: bytes) -> None:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            self._add(rules, rights, place)
        except OSError as error:
            if error.errno != EINVAL:
                raise
            self._add(rules, rights & FOR_FILES, place)  # it is no directory
        finally:
            os.close(place)

    def _add(self, rules: int, rights: int, place: int) -> None:
        rule = rights.to_bytes(8, "little") + place.to_bytes(4, "little")
        call("landlock_add_rule", rules, PATH_BENEATH, rule, 0)
