"""The quickest answer to `bldr build`: nothing has changed since the same command succeeded.

Theory of operation. A build that succeeded leaves a receipt: how every file that it looked at
looked (the Builderfile, inputs, outputs, the directories that its globs went through) and what a
build without work would say. The same command line in the same directory compares these looks by
one `lstat` for each file, and is answered when all are the same. Everything else - a file more or
less, other arguments, another environment variable of ours, a receipt of another version - takes
the ordinary way, which finds out what to do. `receipt` writes them.

It is read before anything else is imported, so it imports nothing that Python has not loaded by
then, except marshal and zlib. Measured by `python -m tests.bench cli`.
"""

import os
import sys
import time
from marshal import loads
from zlib import crc32

from builder.base.shown import format_duration, hit

TYPE_CHECKING = False  # typing is not imported for its own word
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Receipt = dict[str, Any]  # as `receipt` writes it

FORMAT = 2  # counts up with each change of what a receipt holds, or of how actions are made
FILE_NAMES = ("Builderfile", "Builderfile.yaml", "Builderfile.yml")
WORKSPACE_NAME = "Builderfile.workspace"
STATE = ".builder"
FOLDER = "done"
OURS = "BUILDER_"
SECRET = "_TOKEN"  # noqa: S105  how the names of such variables end


def answer(
    arguments: list[str],
    started: float,
    fetch: "Callable[[str, str, Receipt], bool]" = lambda *_: False,
) -> bool:
    """Whether the command is answered, and said so on stdout. `started`: time.monotonic().

    `fetch` is `warm.fetch`, or does what it does.
    """
    found = _builderfile(arguments)
    if found is None:
        return False
    root, name = found
    key = key_of(arguments, name)
    path = f"{root}/{STATE}/{FOLDER}/{file_name(key)}"
    receipt = _read(path, key)
    if receipt is None or not _unchanged(f"{root}/", receipt):
        return False
    if not _in_place(f"{root}/", receipt) and not (receipt["away"] and fetch(root, path, receipt)):
        return False
    try:
        _say(receipt, started)
    except (OSError, UnicodeError, AttributeError):
        return False  # the ordinary way knows what to do about a reader that went away
    return True


def key_of(arguments: list[str], builderfile: str) -> str:
    """All that decides what a command means, besides files."""
    machine = os.uname()
    # What lets us in decides nothing, and is not to be kept in a file.
    ours = sorted(
        f"{k}={v}" for k, v in os.environ.items() if k.startswith(OURS) and not k.endswith(SECRET)
    )
    # The place of the program: each zipapp unpacks to its own.
    parts = [str(FORMAT), sys.version, __file__, machine.sysname, machine.machine]
    return "\0".join([*parts, os.getcwd(), builderfile, *arguments, "", *ours])


def file_name(key: str) -> str:
    """Where a receipt is kept; it holds the whole key, so two that meet do no harm."""
    return f"{crc32(key.encode('utf-8', 'surrogateescape')):08x}"


def listing(path: str) -> list[tuple[str, bool]]:
    """(name, whether it is a directory), sorted; sockets and such are left out. Raises OSError."""
    with os.scandir(path) as entries:
        return sorted(
            (entry.name, directory)
            for entry in entries
            if (directory := entry.is_dir(follow_symlinks=False))
            or entry.is_symlink()
            or entry.is_file()
        )


def looks(status: os.stat_result) -> tuple[int, ...]:
    """What changes with every change of a file."""
    return (
        status.st_ctime_ns,
        status.st_mtime_ns,
        status.st_size,
        status.st_ino,
        status.st_mode,
    )


def _builderfile(arguments: list[str]) -> tuple[str, str] | None:
    """(directory, name) as `builderfile.find` finds it; None where that would raise."""
    try:
        place = os.path.abspath(_directory(arguments))
    except OSError:
        return None
    nearest = None
    while True:
        if os.path.isfile(f"{place}/{WORKSPACE_NAME}"):
            return place.rstrip("/"), WORKSPACE_NAME
        for name in FILE_NAMES:
            if nearest is None and os.path.isfile(f"{place}/{name}"):
                nearest = place.rstrip("/"), name
        parent = os.path.dirname(place)
        if parent == place:
            return nearest
        place = parent


def _directory(arguments: list[str]) -> str:
    """What -C names. A receipt is of one root only, so a wrong guess finds none."""
    for number, argument in enumerate(arguments):
        if argument in ("-C", "--directory"):
            return "".join(arguments[number + 1 : number + 2])
        if argument.startswith("--directory="):
            return argument.partition("=")[2]
        if argument.startswith("-C"):
            return argument[2:]
    return "."


def _read(path: str, key: str) -> "Receipt | None":
    try:
        with open(path, "rb") as file:
            receipt = loads(file.read())  # noqa: S302  our own file; it is data, no pickle
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return receipt if isinstance(receipt, dict) and receipt.get("key") == key else None


def _unchanged(prefix: str, receipt: "Receipt") -> bool:
    try:
        return _same_files(prefix, receipt["files"]) and _same_others(prefix, receipt)
    except (OSError, ValueError):
        return False


def _in_place(prefix: str, receipt: "Receipt") -> bool:
    """Whether the outputs are, too."""
    try:
        return _same_files(prefix, receipt["made"])
    except OSError:
        return False


def _same_files(prefix: str, files: dict[str, tuple[int, int, int, int, int]]) -> bool:
    """The hot loop: written out, it takes half of the time of comparing `looks`."""
    lstat = os.lstat
    for path, (ctime, mtime, size, inode, mode) in files.items():
        status = lstat(prefix + path)
        if (
            status.st_ctime_ns != ctime
            or status.st_mtime_ns != mtime
            or status.st_size != size
            or status.st_ino != inode
            or status.st_mode != mode
        ):
            return False
    return True


def _same_others(prefix: str, receipt: "Receipt") -> bool:
    return (
        all(looks(os.stat(path)) == seen for path, seen in receipt["elsewhere"].items())
        and all(os.readlink(prefix + p) == target for p, target in receipt["links"].items())
        and all(listing(prefix + p) == names for p, names in receipt["directories"].items())
        and not any(os.path.islink(prefix + path) for path in receipt["no_links"])
        and not any(
            os.path.lexists(path if path[0] == "/" else prefix + path) for path in receipt["absent"]
        )
    )


def _say(receipt: "Receipt", started: float) -> None:
    """As `Console` says it of a build whose targets are all hits."""
    now = time.time()
    lines, errors = [], []
    for target, stored_at, output, error, _ in receipt["targets"]:
        age_s = None if stored_at is None else max(0.0, now - stored_at)
        lines.append(f"[INFO] {hit(target, age_s)}\n{output}")
        errors.append(error)
    lines.append(f"[INFO] Build completed in {format_duration(time.monotonic() - started)}\n")
    total = len(receipt["targets"])
    if total > 1:
        lines.append(f"[INFO] {total} targets: {total} from the cache, 0 built\n")
    for stream, text in ((sys.stdout, "".join(lines)), (sys.stderr, "".join(errors))):
        text.encode(stream.encoding)  # raises before anything is said
        stream.write(text)
        stream.flush()
