"""A Command as it came, checked and in our own words.

Source: REAPI v2 `Command`. Paths are relative, with `/`; outputs are relative to the working
directory, may climb out of it by `..` but never out of the input root, and are reported under
the name that the client gave.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.worker.tree import MOST_LEVELS, NAME_BYTES


class Kind(Enum):
    """What a declared output may be."""

    FILE = "file"
    DIRECTORY = "directory"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Output:
    """A declared output: `name` as the client wrote it, `path` from the input root."""

    name: str
    path: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, where, and what to bring back."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    working_directory: str
    outputs: tuple[Output, ...]
    wants_tree: bool
    wants_directory: bool
    properties: tuple[tuple[str, str], ...]  # of clients before API 2.2; the action's go first
    node_properties: frozenset[str] = frozenset()  # to be told of outputs

    @property
    def output_parents(self) -> tuple[str, ...]:
        """Directories that must be there before the start, from the input root."""
        parents = dict.fromkeys(parent_of(output.path) for output in self.outputs)
        parents.pop("", None)
        return tuple(parents)


def parent_of(path: str) -> str:
    return path.rpartition("/")[0]


def plan(command: pb.Command) -> Plan:
    """Raises InvalidArgumentError that names the argument, variable or path."""
    if not command.arguments or not command.arguments[0]:
        raise InvalidArgumentError("the command has no program: `arguments` is empty")
    for argument in command.arguments:
        _no_nul(argument, "argument")
    directory = normal_path("", command.working_directory, "working directory")
    form = command.output_directory_format
    return Plan(
        argv=tuple(command.arguments),
        environment=_environment(command),
        working_directory=directory,
        outputs=tuple(_outputs(command, directory)),
        wants_tree=form != pb.Command.DIRECTORY_ONLY,
        wants_directory=form != pb.Command.TREE_ONLY,
        properties=tuple((one.name, one.value) for one in command.platform.properties),
        node_properties=frozenset(command.output_node_properties),
    )


def normal_path(base: str, path: str, what: str) -> str:
    """`base/path` without `.`, `..` and doubled slashes; empty is the input root itself."""
    _no_nul(path, what)
    if path.startswith("/"):
        raise InvalidArgumentError(f"{what} {path!r} is absolute: write it from the input root")
    parts = base.split("/") if base else []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise InvalidArgumentError(f"{what} {path!r} leads out of the input root")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    _no_longer_than_paths(parts, path, what)
    return "/".join(parts)


def _no_longer_than_paths(parts: list[str], path: str, what: str) -> None:
    """No file has such a path, and no directory can be made for it."""
    longest = max((len(part.encode()) for part in parts), default=0)
    if longest > NAME_BYTES or len(parts) > MOST_LEVELS:
        raise InvalidArgumentError(
            f"{what} {path[:60]!r}... has a name over {NAME_BYTES} bytes, or more than "
            f"{MOST_LEVELS} levels"
        )


def _environment(command: pb.Command) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable in command.environment_variables:
        if not variable.name or "=" in variable.name:
            raise InvalidArgumentError(f"{variable.name!r} cannot name an environment variable")
        if variable.name in found:
            raise InvalidArgumentError(f"environment variable {variable.name} is set twice")
        _no_nul(variable.name, "environment variable")
        _no_nul(variable.value, f"value of environment variable {variable.name}")
        found[variable.name] = variable.value
    return found


def _declared(command: pb.Command) -> Iterator[tuple[str, Kind]]:
    if command.output_paths:  # then the fields of API 2.0 do not count
        yield from ((path, Kind.ANY) for path in command.output_paths)
        return
    yield from ((path, Kind.FILE) for path in command.output_files)
    yield from ((path, Kind.DIRECTORY) for path in command.output_directories)


def _outputs(command: pb.Command, directory: str) -> Iterator[Output]:
    seen: dict[str, Kind] = {}
    for name, kind in _declared(command):
        if seen.setdefault(name, kind) is not kind:
            raise InvalidArgumentError(f"{name!r} is declared as output file and as directory")
    for name, kind in seen.items():
        path = normal_path(directory, name, "output path")
        if not path and kind is Kind.FILE:
            raise InvalidArgumentError(f"output file {name!r} is the input root")
        yield Output(name, path, kind)


def _no_nul(text: str, what: str) -> None:
    if "\0" in text:
        raise InvalidArgumentError(f"{what} {text!r} holds a NUL byte")
