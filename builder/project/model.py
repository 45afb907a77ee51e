"""What a Builderfile says, checked and in our own words.

Paths are normalised and relative to the Builderfile. `where` of an item is its place in the
document (keys and indexes), for messages that come up later, when files are looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from builder.base.errors import UsageError
from builder.project.paths import WILD, PathError, Pattern, is_within, normalise, pattern, within

if TYPE_CHECKING:  # the parser is not imported where nothing is parsed
    from builder.base.document import Path, Plain

FILE_NAMES = ("Builderfile", "Builderfile.yaml", "Builderfile.yml")
WORKSPACE_NAME = "Builderfile.workspace"
TARGET_PREFIX = "target "


class Source(Protocol):
    """The document that a project came from: its value, and errors that point into its text."""

    @property
    def value(self) -> "Plain": ...

    @property
    def source(self) -> str: ...

    def error(
        self, path: Sequence[str | int], message: str, hint: str = "", *, key: bool = False
    ) -> UsageError: ...


@dataclass(frozen=True, slots=True)
class NoText:
    """Of targets that no document declares, but a caller."""

    value: "Plain" = None
    source: str = "the caller"

    def error(
        self, path: Sequence[str | int], message: str, hint: str = "", *, key: bool = False
    ) -> UsageError:
        del path, key
        return UsageError(f"{message}; {hint}" if hint else message)


NO_TEXT = NoText()


class Priority(IntEnum):
    """Lower runs sooner, as in REAPI's ExecutionPolicy."""

    CRITICAL = -100
    HIGH = -50
    NORMAL = 0
    LOW = 50


@dataclass(frozen=True, slots=True)
class Input:
    """One line of `inputs`: a glob or path, an exclusion (`!`), or a target's outputs (`:`)."""

    text: str
    where: "Path"
    pattern: Pattern | None = None
    excluded: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """A file, a directory, or with `pattern` the files that match it when the command has ended;
    `path` is its text then."""

    path: str
    directory: bool
    where: "Path"
    pattern: Pattern | None = None

    @property
    def place(self) -> str:
        """What has to be brought back for it: of a glob the directory that it is in."""
        return self.pattern.base if self.pattern else self.path

    def holds(self, path: str) -> bool:
        """Whether this file is a part of it."""
        return self.pattern.matches(path) if self.pattern else is_within(path, self.path)


def output(text: str, where: "Path", package: str = "") -> Output:
    """As a Builderfile writes it. Raises PathError."""
    if WILD.isdisjoint(text):
        path = normalise(text)
        return Output(f"{package}/{path}" if package else path, text.endswith("/"), where)
    found = pattern(text)
    if not found.base:
        raise PathError(
            f"output {text!r} is a glob over the whole work tree",
            "let the command write into a directory of its own: for example build/*.o",
        )
    found = within(package, found)
    return Output(found.text, False, where, found)


@dataclass(frozen=True, slots=True)
class Depend:
    target: str
    where: "Path"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that a command needs. `version`: the command that tells which one it is; without
    it the program's bytes tell."""

    name: str
    where: "Path"
    version: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hermetic:
    """None leaves it to the worker. No network unless asked for. `audit`: cheap or full."""

    max_memory_bytes: int | None = None
    max_cpu_cores: float | None = None
    timeout_s: float | None = None
    network: bool | tuple[str, ...] = False  # all, none, or these hosts
    audit: str | None = None
    processes: int | None = None
    deterministic: bool = False
    programs: tuple[str, ...] = ()  # which alone may be executed
    clock: int | None = None  # seconds since 1970, where the wall clock stands


@dataclass(frozen=True, slots=True)
class Target:
    """`arguments` is the argv, shell included; empty for a group of other targets.

    `parallelism`: at most so many of the targets that this one needs, itself included, run at
    once; 0 is no limit of its own. `block`: the name of the block that it is written in, where
    that is another one. `platform`: properties of the machine that may run it. `retries`: how often
    a test that failed is run again. `package` is the directory in which the command runs and whose
    Builderfile, `source`, declares it; paths and names are those of the whole workspace.
    """

    name: str
    arguments: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    depends: tuple[Depend, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    hermetic: Hermetic = Hermetic()
    remote: bool = True
    cache: bool = True
    parallelism: int = 0
    priority: Priority = Priority.NORMAL
    description: str = ""
    block: str = ""
    platform: Mapping[str, str] = field(default_factory=dict)
    test: bool = False
    retries: int = 0
    tools: tuple[Tool, ...] = ()
    package: str = ""
    source: Source = field(default=NO_TEXT, compare=False, repr=False)

    @property
    def where(self) -> "Path":
        return (TARGET_PREFIX + (self.block or self.name),)

    def own(self, path: str) -> str:
        """A path as this target's Builderfile writes it; its command finds it there, too."""
        if not self.package:
            return path
        mine = path.removeprefix(f"{self.package}/")
        return mine if mine != path else f"//{path}"


@dataclass(frozen=True, slots=True)
class Project:
    """Targets by name, in the order of the files. `here`: the package in which somebody stands;
    `files`: the documents that all of it came from."""

    targets: Mapping[str, Target]
    source: Source = field(compare=False, repr=False)
    here: str = ""
    packages: tuple[str, ...] = ("",)
    files: tuple[str, ...] = field(default=(), compare=False)
