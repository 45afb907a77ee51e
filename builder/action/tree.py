"""A set of files as a Merkle tree of `Directory` messages, and back.

Entries are named by path relative to the tree's root, with `/` between segments. The messages are
canonical as REAPI v2 asks (`Directory`): nodes sorted by name in each list, names unique across
the lists, defaults left out, fields ascending; so the same entries give the same root digest
wherever, and in whatever order, they were found.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from builder.base.digest import Digest, digest_of
from builder.base.errors import DataLossError, InvalidArgumentError
from builder.reapi.digests import from_proto, to_proto
from builder.reapi.pb import remote_execution_pb2 as pb

# A Tree shares equal directories, so a few hundred bytes could name billions of files.
MOST_ENTRIES = 1_000_000


@dataclass(frozen=True, slots=True)
class File:
    digest: Digest
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    target: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory that is named for itself, because it may be empty."""


Entry = File | Link | Folder


@dataclass(frozen=True, slots=True)
class Merkle:
    """A root and the serialized directories that it stands for, root included."""

    root: Digest
    directories: Mapping[Digest, bytes] = field(default_factory=dict)


def checked_path(path: str) -> str:
    """The path itself. Raises InvalidArgumentError unless it is relative, plain and in UTF-8."""
    if not path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidArgumentError(
            f"{path!r} is no path in a tree: want segments joined by '/', none empty, '.' or '..'"
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"{path!r} is not UTF-8, and paths of an action must be: rename the file"
        ) from None
    return path


def merkle(entries: Mapping[str, Entry], function: str = "sha256") -> Merkle:
    """Raises InvalidArgumentError for a bad path, or one that lies beneath a file."""
    messages: dict[str, pb.Directory] = {"": pb.Directory()}
    for path, entry in sorted(entries.items()):
        checked_path(path)
        if isinstance(entry, Folder):
            messages.setdefault(path, pb.Directory())
        parent = path.rpartition("/")[0]
        while parent not in messages:
            messages[parent] = pb.Directory()
            parent = parent.rpartition("/")[0]
        _add(messages[path.rpartition("/")[0]], path, entry)
    for path in messages:
        if not isinstance(entries.get(path, Folder()), Folder):
            raise InvalidArgumentError(f"{path!r} is a file, and another path lies beneath it")
    return _sealed(messages, function)


def _add(message: pb.Directory, path: str, entry: Entry) -> None:
    name = path.rpartition("/")[2]
    if isinstance(entry, File):
        message.files.add(name=name, digest=to_proto(entry.digest), is_executable=entry.executable)
    elif isinstance(entry, Link):
        message.symlinks.add(name=name, target=entry.target)
    # A directory is named by its parent when it is sealed.


def _sealed(messages: dict[str, pb.Directory], function: str) -> Merkle:
    """Children before parents, so that a parent can name its children's digests."""
    blobs: dict[Digest, bytes] = {}
    digest = digest_of(b"", function)
    # Descending by depth; within one depth ascending by name, the order of the parent's list.
    for path in sorted(messages, key=lambda p: (-(p.count("/") + 1 if p else 0), p)):
        data = messages[path].SerializeToString(deterministic=True)
        digest = digest_of(data, function)
        blobs[digest] = data
        if path:
            parent, _, name = path.rpartition("/")
            messages[parent].directories.add(name=name, digest=to_proto(digest))
    return Merkle(digest, blobs)


def entries_of(
    tree: pb.Tree, function: str = "sha256", most: int = MOST_ENTRIES
) -> dict[str, Entry]:
    """What a `Tree` message holds, by path; empty directories as `Folder`.

    Raises DataLossError for a tree that misses a child or repeats a name, InvalidArgumentError
    for names that would leave the tree.
    """
    children = {
        digest_of(child.SerializeToString(deterministic=True), function): child
        for child in tree.children
    }
    found: dict[str, Entry] = {}
    stack = [("", tree.root)]
    while stack:
        prefix, directory = stack.pop()
        for path, entry in _nodes(prefix, directory, function):
            if path in found:
                raise DataLossError(f"the tree names {path!r} twice")
            found[path] = entry
        if len(found) > most:
            raise DataLossError(f"the tree holds more than {most} entries")
        for node in directory.directories:
            child = children.get(from_proto(node.digest, function))
            if child is None:
                raise DataLossError(f"the tree misses its directory {prefix}{node.name!r}")
            stack.append((f"{prefix}{node.name}/", child))
    return found


def _nodes(prefix: str, directory: pb.Directory, function: str) -> Iterator[tuple[str, Entry]]:
    for file in directory.files:
        digest = from_proto(file.digest, function)
        yield _child(prefix, file.name), File(digest, file.is_executable)
    for link in directory.symlinks:
        yield _child(prefix, link.name), Link(link.target)
    for node in directory.directories:
        yield _child(prefix, node.name), Folder()


def _child(prefix: str, name: str) -> str:
    if "/" in name:
        raise InvalidArgumentError(f"{name!r} is no name of a file: it holds a '/'")
    return prefix + checked_path(name)


def file_digests(entries: Iterable[Entry]) -> list[Digest]:
    """Each file's digest once, in order."""
    return list(dict.fromkeys(entry.digest for entry in entries if isinstance(entry, File)))
