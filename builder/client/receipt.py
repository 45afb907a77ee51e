"""Receipts of builds that succeeded, for `noop` to compare with.

A receipt is kept only when every look in it is certain: a file that changed within a tick of the
clock before it was looked at could change once more and look the same, so there is none then, and
the next build, which finds everything in its cache, writes it.
"""

import marshal
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.action.tree import Entry, File, Folder, Link
from builder.base.digest import Digest
from builder.client.filestate import TICK_NS, FileStates, replaced
from builder.client.noop import FOLDER, file_name, key_of, listing, looks
from builder.client.state import NAME
from builder.project.ignore import FILE_NAME as IGNORE_NAME
from builder.project.paths import parents

MOST = 16  # receipts of one project, the newest
MOST_TEXT = 1024 * 1024  # characters that the commands wrote

Listed = Mapping[str, list[tuple[str, bool]]]


@dataclass(frozen=True, slots=True)
class Looked:
    """What a build looked at, by path relative to the project.

    `inputs` are source files, `listed` directories as they were found, `bases` directories that
    must not be links, `absent` what was looked for and is not there, `elsewhere` absolute paths
    of other files.
    """

    inputs: Mapping[str, Entry]
    listed: Listed
    bases: Iterable[str] = ()
    absent: Iterable[str] = ()
    elsewhere: Iterable[str] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """What a hit of this target says. `stored_at`: seconds since 1970, None when not known.
    `action` is its digest, `files` what it made, for `warm`."""

    target: str
    stored_at: float | None
    out: str = ""
    err: str = ""
    action: Digest | None = None
    files: Mapping[str, Entry] = field(default_factory=dict)


# Address and instance of the server that has all results; None for none that `warm` could ask.
Away = tuple[str, str] | None


@dataclass(slots=True)
class Receipt:
    """Filled step by step. `since_ns`: what changed after it (less a tick) is not certain."""

    root: str
    files: FileStates
    since_ns: int
    looks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    made: dict[str, tuple[int, ...]] = field(default_factory=dict)
    elsewhere: dict[str, tuple[int, ...]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)

    def file(self, path: str) -> None:
        """A file whose digest is known. Raises _UncertainError."""
        full = f"{self.root}/{path}"
        seen = os.lstat(full)
        if os.path.islink(full):  # of which the build took the file that it leads to
            self._old(seen)
            self.looks[path] = looks(seen)
            seen = os.stat(full)
            self.elsewhere[full] = looks(seen)
        else:
            self.looks[path] = looks(seen)
        if not self.files.is_known(path, seen):
            raise _UncertainError

    def plain(self, path: str) -> None:
        """A file that was read whole, whatever it is."""
        seen = os.stat(f"{self.root}/{path}")
        self._old(seen)
        self.looks[path] = looks(os.lstat(f"{self.root}/{path}"))
        self.elsewhere[f"{self.root}/{path}"] = looks(seen)

    def other(self, full: str) -> None:
        seen = os.stat(full)
        self._old(seen)
        self.elsewhere[full] = looks(seen)

    def directory(self, path: str, expected: list[tuple[str, bool]], made: set[str]) -> None:
        """`made` are paths that may have come since it was listed."""
        full = f"{self.root}/{path}"
        seen = os.lstat(full)
        if self._is_old(seen):
            self.looks[path] = looks(seen)
            return
        now = listing(full)
        prefix = f"{path}/" if path else ""
        if any(prefix + name not in made for name, _ in set(now) ^ set(expected)):
            raise _UncertainError
        self.directories[path] = now

    def outputs(self, entries: Mapping[str, Entry]) -> None:
        within: dict[str, list[tuple[str, bool]]] = {}
        for path, entry in entries.items():
            parent, _, name = path.rpartition("/")
            within.setdefault(parent, []).append((name, isinstance(entry, Folder)))
            self.entry(path, entry)
            if path in self.looks:
                self.made[path] = self.looks.pop(path)
        for path, entry in entries.items():
            if isinstance(entry, Folder):
                self.directory(path, sorted(within.get(path, [])), set())

    def entry(self, path: str, entry: Entry) -> None:
        match entry:
            case File():
                self.file(path)
            case Link(target):
                self.links[path] = target
            case Folder():
                pass

    def _old(self, seen: os.stat_result) -> None:
        if not self._is_old(seen):
            raise _UncertainError

    def _is_old(self, seen: os.stat_result) -> bool:
        return max(seen.st_mtime_ns, seen.st_ctime_ns) < self.since_ns - TICK_NS


class _UncertainError(Exception):
    """Something changed while we built, or just before."""


def write(
    state: Path,
    key: tuple[list[str], str],
    receipt: Receipt,
    looked: Looked,
    made: Iterable[Mapping[str, Entry]],
    said: list[Said],
    away: Away = None,
) -> bool:
    """Keep it below `state`, if all of it is certain; whether it was. `key`: the command's
    arguments and the Builderfile's name."""
    if sum(len(one.out) + len(one.err) for one in said) > MOST_TEXT:
        return False
    try:
        _fill(receipt, key[1], looked, list(made))
        _keep(state / FOLDER, key_of(*key), receipt, looked, said, away)
    except (_UncertainError, OSError, ValueError):
        return False
    return True


def _fill(
    receipt: Receipt, builderfile: str, looked: Looked, made: list[Mapping[str, Entry]]
) -> None:
    receipt.plain(builderfile)
    if os.path.lexists(f"{receipt.root}/{IGNORE_NAME}"):
        receipt.plain(IGNORE_NAME)
    for path in looked.elsewhere:
        receipt.other(path)
    for path, entry in looked.inputs.items():
        receipt.entry(path, entry)
    ours = {NAME}
    for entries in made:
        receipt.outputs(entries)
        ours.update(entries)
        for path in entries:
            ours.update(parents(path))
    for path, names in looked.listed.items():
        receipt.directory(path, names, ours)


def _keep(
    folder: Path, key: str, receipt: Receipt, looked: Looked, said: list[Said], away: Away
) -> None:
    simple = all(_is_simple(one) for one in said)
    content: dict[str, Any] = {
        "key": key,
        "files": receipt.looks,
        "made": receipt.made,
        "elsewhere": receipt.elsewhere,
        "links": receipt.links,
        "directories": receipt.directories,
        "no_links": list(looked.bases),
        "absent": list(looked.absent),
        "targets": [(one.target, one.stored_at, one.out, one.err, _action(one)) for one in said],
        "away": away if simple else None,
    }
    folder.mkdir(exist_ok=True)
    with replaced(folder / file_name(key)) as temporary:
        temporary.write_bytes(marshal.dumps(content))
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[MOST:]:
        with suppress(OSError):
            path.unlink()


def _is_simple(said: Said) -> bool:
    """Whether `warm` can bring it back."""
    action = said.action
    return (
        action is not None
        and action.function == "sha256"
        and said.stored_at is not None
        and all(isinstance(entry, File) for entry in said.files.values())
    )


def _action(said: Said) -> tuple[str, int, dict[str, tuple[str, int, bool]]]:
    """Its digest, and the files that it makes with their digests."""
    files = {p: e for p, e in said.files.items() if isinstance(e, File)}
    kept = {p: (e.digest.hash, e.digest.size_bytes, e.executable) for p, e in files.items()}
    return (said.action.hash, said.action.size_bytes, kept) if said.action else ("", 0, kept)


def started_ns(started: float) -> int:
    """The wall clock's time of a moment of time.monotonic()."""
    return time.time_ns() - round((time.monotonic() - started) * 1e9)
