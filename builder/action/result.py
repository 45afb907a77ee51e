"""What an ActionResult says was made: outputs as entries by path.

Source: REAPI v2 `ActionResult`; both `output_symlinks` (2.1) and the two fields before it count.
A result comes from another program, so each of its paths is checked before it is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from builder.action.tree import Entry, File, Folder, Link, checked_path, entries_of
from builder.base.digest import Digest
from builder.base.errors import DataLossError, InvalidArgumentError
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb


@dataclass(frozen=True, slots=True)
class Outputs:
    """`roots` are the declared paths that exist, `entries` everything at and beneath them."""

    roots: Mapping[str, Entry]
    entries: Mapping[str, Entry]


def trees_of(result: pb.ActionResult, function: str = "sha256") -> list[Digest]:
    """The Tree blobs that must be read before `outputs_of` can answer, each once."""
    digests = (from_proto(item.tree_digest, function) for item in result.output_directories)
    return list(dict.fromkeys(digests))


def inline_contents(result: pb.ActionResult, function: str = "sha256") -> dict[Digest, bytes]:
    """Bytes of output files that the result already carries."""
    return {
        from_proto(item.digest, function): item.contents
        for item in result.output_files
        if item.contents
    }


def outputs_of(
    result: pb.ActionResult, trees: Mapping[Digest, bytes], function: str = "sha256"
) -> Outputs:
    """Raises DataLossError where the result contradicts itself, InvalidArgumentError for paths
    that leave the work tree."""
    roots: dict[str, Entry] = {}
    entries: dict[str, Entry] = {}
    for path, entry in _files_and_links(result, function):
        _put(roots, checked_path(path), entry)
    entries.update(roots)
    for item in result.output_directories:
        path = checked_path(item.path)
        _put(roots, path, Folder())
        entries[path] = Folder()
        data = trees[from_proto(item.tree_digest, function)]
        for name, entry in entries_of(_tree(path, data), function).items():
            _put(entries, f"{path}/{name}", entry)
    return Outputs(roots, entries)


def _tree(path: str, data: bytes) -> pb.Tree:
    try:
        return pb.Tree.FromString(data)
    except DecodeError as error:
        raise DataLossError(f"the tree of output {path!r} cannot be read: {error}") from error


def _files_and_links(result: pb.ActionResult, function: str) -> Iterator[tuple[str, Entry]]:
    for file in result.output_files:
        yield file.path, File(from_proto(file.digest, function), file.is_executable)
    links = {link.path: link.target for link in result.output_file_symlinks}
    links |= {link.path: link.target for link in result.output_directory_symlinks}
    links |= {link.path: link.target for link in result.output_symlinks}
    for path, target in links.items():
        if "\0" in target or not target:
            raise InvalidArgumentError(f"output {path!r} is a link to {target!r}, which cannot be")
        yield path, Link(target)


def _put(entries: dict[str, Entry], path: str, entry: Entry) -> None:
    if path in entries:
        raise DataLossError(f"the result names output {path!r} twice")
    entries[path] = entry


def beneath(directory: str, outputs: Outputs) -> Outputs:
    """Outputs of a command that ran in a directory, by their paths in the whole tree."""
    if not directory:
        return outputs
    return Outputs(
        {f"{directory}/{path}": entry for path, entry in outputs.roots.items()},
        {f"{directory}/{path}": entry for path, entry in outputs.entries.items()},
    )
