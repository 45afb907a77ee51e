"""What counts for quotas, in files: so that a restart begins with what each instance holds.

`{root}/usage-{begun}`, appended to: a line for each blob and each result at its first use in a
tick of the lease. A file takes a quarter of a lease and is removed when the last lease in it has
ended, so nothing is ever written anew. What a full disk does not take counts no more after a
restart; no call fails for it.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from builder.base.digest import HEX, HEX_LENGTHS
from builder.server.quotas import Found, Use
from builder.stores.entries import parts_of
from builder.stores.folder import write_all

NAME = "usage-"
SHARE = 4  # files in a lease
COUNTS = 1.5  # leases from a file's begin until nothing in it counts


class UsageLog:
    """Times are seconds since 1970. Raises OSError when `root` cannot be made or read."""

    def __init__(self, root: Path, lease_s: float) -> None:
        self._root = root
        self._lease_s = max(lease_s, 1.0)
        root.mkdir(parents=True, exist_ok=True)
        self._earlier = self._begins()
        self._descriptor = -1
        self._begun = 0.0

    def keep(self, uses: Sequence[Use]) -> None:
        """Write down what is used now."""
        now = uses[0].used
        if self._descriptor < 0 or not 0.0 <= now - self._begun < self._lease_s / SHARE:
            self._turn(now)
        # What a killed process left of a line is no part of the next one.
        lines = [f"\n{u.kind} {u.used:.0f} {u.size} {u.key} {quote(u.instance)}" for u in uses]
        with suppress(OSError):
            write_all(self._descriptor, "".join([*lines, "\n"]).encode())

    def read(self, now: float) -> Found:
        """What earlier processes wrote down and still counts. Raises OSError."""
        found: Found = {}
        self._forget(now)
        for begun in self._earlier:
            with suppress(FileNotFoundError), open(self._path(begun), encoding="latin-1") as file:
                for use in filter(None, map(_parsed, file)):
                    held = found.setdefault((use.kind, use.instance), {})
                    held[use.key] = (use.used, use.size)
        return found

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _turn(self, now: float) -> None:
        """Begin the next file; without one when the disk does not let us."""
        self.close()
        self._begun = now
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._path(int(now)), flags, 0o600)
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Remove the files in which nothing counts any more."""
        for begun in self._begins():
            if begun + COUNTS * self._lease_s < now:
                with suppress(OSError):
                    self._path(begun).unlink()

    def _path(self, begun: int) -> Path:
        return self._root / f"{NAME}{begun}"

    def _begins(self) -> list[int]:
        names = (path.name.removeprefix(NAME) for path in self._root.glob(f"{NAME}*"))
        return sorted(int(name) for name in names if name.isdecimal())


def _parsed(line: str) -> Use | None:
    """A line of a file; None for what is none."""
    parts = line.rstrip("\n").split(" ")
    if len(parts) != 5 or not (parts[1] + parts[2]).isdecimal():
        return None
    kind, used, size, key, instance = parts
    function, hash_ = parts_of(key)
    if len(hash_) != HEX_LENGTHS.get(function) or not HEX.issuperset(hash_) or not size:
        return None
    return Use(kind, unquote(instance), key, int(size), float(used or 0))
