"""From an action to the worker that may serve it, and to what that is asked.

As Bazel does it itself: arguments of the form `@file` or `--flagfile=file` are the request, all
others start the program, with `--persistent_worker` behind them. Two actions share a program
only when everything that makes it is the same: the tool's files, the command, the environment,
the limits, and the instance that asks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from builder.base.digest import digest_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb.worker_protocol_pb2 import Input, WorkRequest
from builder.reapi.persistent import TOOL_INPUT, TOOLS, Persistent
from builder.sandbox.interface import Limits, Network, SandboxSpec
from builder.worker.tree import Found, InputTree

FLAG_FILE = re.compile(r"(?:@|--?flagfile=).+", re.DOTALL)
ELSEWHERE = re.compile(r"@.*//.*", re.DOTALL)  # a label of another repository is no file
START = "--persistent_worker"
MOST_LEVELS = 16
MOST_ARGUMENTS = 1_000_000
TEXT_BYTES = 64 * 1024 * 1024


class UnfitError(Exception):
    """No persistent worker can serve this action; says why. It can run by itself."""


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """What one program is made of. `key` names all of it."""

    key: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    limits: Limits
    required: frozenset[str]
    tools: frozenset[str]
    wish: Persistent


def worker_command(
    wish: Persistent, instance: str, spec: SandboxSpec, files: Mapping[str, pb.FileNode]
) -> WorkerCommand:
    """Raises UnfitError."""
    check(spec)
    startup = tuple(one for one in spec.argv[1:] if not FLAG_FILE.fullmatch(one))
    if len(startup) == len(spec.argv) - 1:
        raise UnfitError("its command has no @file with the request's arguments")
    named = wish.tools
    tools = sorted(path for path, node in files.items() if is_tool(node) or below(path, named))
    if not tools:
        raise UnfitError(
            "none of its inputs is marked as one of the tool "
            "(bazel build --experimental_remote_mark_tool_inputs), or named by the property "
            f"{TOOLS}"
        )
    argv = (spec.argv[0], *startup, START)
    limits = replace(spec.limits, wall_s=None)
    parts = [instance, *argv, "", *(f"{k}={v}" for k, v in sorted(spec.environment.items()))]
    parts += ["", repr(limits), repr(wish), *sorted(spec.required), ""]
    for path in tools:
        node = files[path]
        parts.append(f"{path}\0{node.digest.hash}\0{node.is_executable}")
    name = digest_of("\n".join(map(repr, parts)).encode(), "sha256").hash
    return WorkerCommand(
        name, argv, spec.environment, limits, spec.required, frozenset(tools), wish
    )


def check(spec: SandboxSpec) -> None:
    """What a program that others use too cannot give. Raises UnfitError."""
    limits = spec.limits
    unfit = {
        "it is audited": spec.audit is not None,
        "it has a network": spec.network is not Network.NONE,
        "it is to be deterministic": spec.deterministic,
        "its wall clock is to stand still": spec.clock is not None,
        "it may execute some programs only": spec.programs != (),
        "its disk is limited": (limits.disk_bytes, limits.disk_files) != (None, None),
        "it must have a fresh process": "fresh-process" in spec.required,
        "its inputs are its root": spec.inputs_as_root,
        "it has an image": spec.layers != (),  # which may go while a program still stands in it
        "it has a working directory": spec.working_directory != "",
    }
    for why, holds in unfit.items():
        if holds:
            raise UnfitError(why)


def is_tool(node: pb.FileNode) -> bool:
    return any(one.name == TOOL_INPUT for one in node.node_properties.properties)


def below(path: str, places: Iterable[str]) -> bool:
    """Whether it is one of them, or below one that ends in a slash."""
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in places)


def files_of(tree: InputTree) -> dict[str, pb.FileNode]:
    """Every file by its path."""
    found: dict[str, pb.FileNode] = {}
    stack = [("", tree.root)]
    while stack:
        prefix, digest = stack.pop()
        directory = tree.directories[digest]
        found |= {prefix + node.name: node for node in directory.files}
        stack += [(f"{prefix}{name}/", below) for name, below in tree.below(directory).items()]
    return found


def check_parents(parents: Iterable[str], tree: InputTree) -> None:
    """Raises UnfitError where an output would be written through a link."""
    for parent in parents:
        if tree.look(parent) is Found.SYMLINK:
            raise UnfitError(f"there is a symlink on the way to its output in {parent!r}")


def work_request(spec: SandboxSpec, files: Mapping[str, pb.FileNode], root: str) -> WorkRequest:
    """What is asked of the program. `root` is where the files are. Raises UnfitError, OSError."""
    arguments: list[str] = []
    budget = [TEXT_BYTES]
    for argument in spec.argv[1:]:
        if FLAG_FILE.fullmatch(argument):
            for one in expanded(argument, files, root, budget):
                arguments.append(one)
                if len(arguments) > MOST_ARGUMENTS:
                    raise UnfitError(f"its request has more than {MOST_ARGUMENTS} arguments")
    inputs = [
        Input(path=path, digest=node.digest.hash.encode()) for path, node in sorted(files.items())
    ]
    return WorkRequest(arguments=arguments, inputs=inputs)


def expanded(
    argument: str, files: Mapping[str, pb.FileNode], root: str, budget: list[int], level: int = 0
) -> Iterator[str]:
    """The argument, or those in the file that it names. `budget` is how many bytes may be read."""
    is_file = argument.startswith("@") and not argument.startswith("@@")
    if not is_file or ELSEWHERE.fullmatch(argument):
        yield argument
        return
    name = argument[1:].removeprefix("./")
    if name not in files:
        raise UnfitError(f"{argument} is no file among its inputs")
    budget[0] -= files[name].digest.size_bytes
    if level >= MOST_LEVELS or budget[0] < 0:
        raise UnfitError(f"{argument} names too many files, or too large ones")
    try:
        with open(f"{root}/{name}", encoding="utf-8") as file:
            lines = file.read().split("\n")
    except UnicodeDecodeError:
        raise UnfitError(f"{argument} is no text in UTF-8") from None
    for line in lines:
        if line:
            yield from expanded(line, files, root, budget, level + 1)
