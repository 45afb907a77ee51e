"""A Builderfile's plain values as a Project.

The document has been held against `builderfile.schema.json` before, so types and keys are right
here; what a schema cannot say is checked here and in `graph`: paths, labels, and what only makes
sense together.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from builder.base.errors import InvalidArgumentError, UsageError
from builder.base.hosts import checked
from builder.base.moments import parse_moment
from builder.base.units import parse_duration, parse_size
from builder.project.expand import Find, members
from builder.project.labels import ROOT, full_name, resolved, unknown
from builder.project.model import (
    TARGET_PREFIX,
    Depend,
    Hermetic,
    Input,
    Output,
    Priority,
    Project,
    Source,
    Target,
    Tool,
    output,
)
from builder.project.paths import PathError, pattern, plain, within
from builder.project.words import Value, Words, variables

if TYPE_CHECKING:  # a Builderfile that is known already needs no parser
    from builder.base.document import Document, Path

# bash, because pipefail is no part of the /bin/sh of every worker, and a script must not mean
# one thing here and another thing there. Who wants another shell writes the list himself.
SHELL = ("/bin/bash", "-e", "-o", "pipefail", "-c")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")  # as in the schema
IGNORED_PREFIX = "x-"
VARS, DEFAULTS = "vars", "defaults"


def validate(document: "Document", schema: Mapping[str, Any]) -> None:
    """Raises DocumentError for what the schema does not allow."""
    from builder.base.validation import require  # late, with all that it imports

    value = document.value
    if not isinstance(value, dict) or not value:
        raise document.error((), "there is no target here", "write 'target NAME:' and its keys")
    for key, body in value.items():
        if key.startswith(IGNORED_PREFIX) or key in (VARS, DEFAULTS):
            continue
        if not key.startswith(TARGET_PREFIX):
            named = isinstance(body, dict) and key not in ("target", "targets")
            hint = f"at the top there are targets only: write 'target {key if named else 'NAME'}:'"
            raise document.error((key,), f"unknown key {key!r}", hint, key=True)
        if not NAME.fullmatch(name := key.removeprefix(TARGET_PREFIX)):
            hint = "use letters, digits and '_', and after the first of them also '.', '+' and '-'"
            raise document.error((key,), f"{name!r} cannot name a target", hint, key=True)
    require(document, schema)


def nothing(_wanted: object, _excluded: object) -> Sequence[str]:
    """A `find` where no file is."""
    return ()


def load(source: Source, find: Find = nothing) -> Project:
    """One Builderfile alone. `find` looks for the files of a foreach. Raises UsageError with file,
    line and column."""
    return join(source, {"": source}, {}, find)


def join(
    source: Source,
    packages: Mapping[str, Source],
    values: Mapping[str, Value],
    find: Find,
    here: str = "",
) -> Project:
    """The packages of a workspace, by directory. `source` and the variables `values` are its own.

    Raises UsageError with file, line and column.
    """
    targets: dict[str, Target] = {}
    files: dict[str, str] = {}
    for package, one in packages.items():
        blocks = cast("dict[str, Any]", one.value)
        own = {**values, **variables(blocks.get(VARS) or {})}
        reading = _Reading(one, package, blocks.get(DEFAULTS) or {}, own, find, files)
        before = len(targets)
        for key, block in blocks.items():
            if key.startswith(TARGET_PREFIX):
                for target in reading.targets(key.removeprefix(TARGET_PREFIX), block or {}):
                    targets[target.name] = target
        if len(targets) == before:
            raise one.error((), "there is no target here", "write 'target NAME:' and its keys")
    made = _without_made(targets, files)
    read = tuple(dict.fromkeys(one.source for one in (source, *packages.values())))
    return Project(made, source, here, tuple(packages), read)


def _without_made(targets: dict[str, Target], files: Mapping[str, str]) -> dict[str, Target]:
    """A foreach is over source files: members for files that a target makes are left out."""
    made = {output.path for target in targets.values() for output in target.outputs}
    gone = {name for name, file in files.items() if file in made}
    if not gone:
        return targets
    return {
        name: replace(target, depends=tuple(d for d in target.depends if d.target not in gone))
        for name, target in targets.items()
        if name not in gone
    }


@dataclass(slots=True)
class _Reading:
    """What all targets of a Builderfile share. `files`: a foreach's file by its target's name."""

    source: Source
    package: str
    defaults: Mapping[str, Any]
    values: Mapping[str, Value]
    find: Find
    files: dict[str, str]

    def targets(self, name: str, block: dict[str, Any]) -> Iterator[Target]:
        where: Path = (TARGET_PREFIX + name,)
        if "foreach" not in block and "matrix" not in block:
            yield self._target(name, name, block, Words(self.source, self.values))
            return
        if "command" not in block:
            key = "foreach" if "foreach" in block else "matrix"
            message = f"target {name!r} has {key} but no command"
            raise self.source.error((*where, key), message, "add a 'command'", key=True)
        depends = []
        found = members(self.source, where, block, self.values, self.find, self.package)
        for member in found:
            target = self._target(name + member.suffix, name, block, member.words)
            if member.file:
                own = Input(member.file, (*where, "foreach"), plain(member.file))
                target = replace(target, inputs=(own, *target.inputs))
                self.files[target.name] = member.file
            depends.append(Depend(target.name, where))
            yield replace(target, parallelism=0)
        yield Target(
            full_name(self.package, name),
            depends=tuple(depends),
            parallelism=block.get("parallelism", 0),
            description=block.get("description", ""),
            block=name,
            package=self.package,
            source=self.source,
        )

    def _target(self, name: str, block_name: str, own: dict[str, Any], words: Words) -> Target:
        where: Path = (TARGET_PREFIX + block_name,)
        block = {**self.defaults, **own} if "command" in own else own
        inputs = (
            item
            for place, texts in self._lists(where, "inputs", block, own)
            for item in _inputs(self.source, self.package, words.items(texts, place))
        )
        outputs = words.items(block.get("outputs", ()), (*where, "outputs"))
        depends = words.items(block.get("depends", ()), (*where, "depends"))
        environment = {**self.defaults.get("env", {}), **own.get("env", {})}
        limits = {**self.defaults.get("hermetic", {}), **own.get("hermetic", {})}
        target = Target(
            name=full_name(self.package, name),
            arguments=_arguments(block.get("command", ()), words, (*where, "command")),
            inputs=tuple(inputs),
            outputs=tuple(_outputs(self.source, self.package, outputs)),
            depends=tuple(Depend(resolved(text, self.package), here) for here, text in depends),
            environment={
                key: words.text(str(value), (*where, "env", key))
                for key, value in (environment if "command" in own else {}).items()
            },
            hermetic=_hermetic(self.source, (*where, "hermetic"), limits),
            remote=block.get("remote", True) is True,
            cache=block.get("cache", True),
            parallelism=block.get("parallelism", 0),
            priority=Priority[block.get("priority", "normal").upper()],
            description=block.get("description", ""),
            block=block_name,
            test=block.get("test", False),
            retries=block.get("retries", 0),
            tools=tuple(
                tool
                for place, items in self._lists(where, "tools", block, own)
                for tool in _tools(items, place)
            ),
            platform={**self.defaults.get("platform", {}), **own.get("platform", {})},
            package=self.package,
            source=self.source,
        )
        _check_together(self.source, target, own)
        return target

    def _lists(
        self, where: "Path", key: str, block: Mapping[str, Any], own: Mapping[str, Any]
    ) -> Iterator[tuple["Path", list[Any]]]:
        """The defaults' items, then the target's own, each list with its place."""
        if block is not own:
            yield (DEFAULTS, key), self.defaults.get(key, [])
        yield (*where, key), own.get(key, [])


def _check_together(source: Source, target: Target, block: dict[str, Any]) -> None:
    if "\0" in "".join(target.arguments):
        raise source.error((*target.where, "command"), "a command cannot hold a NUL character")
    if "retries" in block and not target.test:
        raise source.error(
            (*target.where, "retries"),
            f"target {target.name!r} has retries and is no test",
            "add 'test: true'; what is no test fails at once",
            key=True,
        )
    if target.arguments and not target.arguments[0]:
        raise source.error((*target.where, "command", 0), "the program's name is empty")
    if target.arguments:
        return
    for key in ("inputs", "outputs", "env", "hermetic", "test", "tools"):
        if key in block:
            raise source.error(
                (*target.where, key),
                f"target {target.name!r} has {key} but no command",
                "add a 'command', or keep 'depends' alone to name a group of targets",
                key=True,
            )
    if not target.depends:
        raise source.error(
            target.where,
            f"target {target.name!r} does nothing",
            "add a 'command', or 'depends' to name a group of targets",
            key=True,
        )


def _arguments(
    command: str | list[str | int] | tuple[()], words: Words, where: "Path"
) -> tuple[str, ...]:
    if isinstance(command, str):
        return (*SHELL, words.text(command, where))
    return tuple(text for _, text in words.items(command, where))


def _tools(items: list[str | dict[str, Any]], where: "Path") -> Iterator[Tool]:
    for number, item in enumerate(items):
        here = (*where, number)
        if isinstance(item, str):
            yield Tool(item, here)
        else:
            yield Tool(item["name"], here, tuple(str(word) for word in item["version"]))


def _inputs(source: Source, package: str, texts: Iterable[tuple["Path", str]]) -> Iterator[Input]:
    """`//path` without a ':' is a path or glob from the workspace's own directory."""
    for here, text in texts:
        if text.startswith(":") or (text.startswith(ROOT) and ":" in text):
            yield Input(text, here, target=resolved(text, package))
            continue
        excluded = text.startswith("!")
        written = text.removeprefix("!")
        base = "" if written.startswith(ROOT) else package
        try:
            found = pattern(written.removeprefix(ROOT))
            yield Input(text, here, within(base, found), excluded)
        except PathError as error:
            raise source.error(here, str(error), error.hint) from None


def _outputs(source: Source, package: str, texts: Iterable[tuple["Path", str]]) -> Iterator[Output]:
    for here, text in texts:
        try:
            yield output(text, here, package)
        except PathError as error:
            raise source.error(here, str(error), error.hint) from None


def _network(source: Source, where: "Path", given: bool | list[str]) -> bool | tuple[str, ...]:
    """All of it, none, or these hosts."""
    if isinstance(given, bool):
        return given
    try:
        return checked(given)
    except InvalidArgumentError as error:
        raise source.error(where, str(error)) from None


def _clock(source: Source, where: "Path", given: str | int | None) -> int | None:
    """Seconds since 1970."""
    try:
        return None if given is None else parse_moment(given)
    except UsageError as error:
        raise source.error(where, str(error)) from None


def _hermetic(source: Source, where: "Path", block: dict[str, Any]) -> Hermetic:
    memory = parse_size(block["max_memory"]) if "max_memory" in block else None
    timeout = parse_duration(block["timeout"]) if "timeout" in block else None
    for key, amount in (("max_memory", memory), ("timeout", timeout)):
        if amount is not None and amount <= 0:
            raise source.error((*where, key), f"{key!r} must be more than 0")
    cores = block.get("max_cpu")
    return Hermetic(
        max_memory_bytes=memory,
        max_cpu_cores=None if cores is None else float(cores),
        timeout_s=timeout,
        network=_network(source, (*where, "network"), block.get("network", False)),
        audit=block.get("audit"),
        processes=block.get("processes"),
        deterministic=block.get("deterministic", False),
        programs=tuple(block.get("programs", ())),
        clock=_clock(source, (*where, "clock"), block.get("clock")),
    )


def unknown_target(project: Project, name: str) -> tuple[str, str]:
    """What to say of a name that no target has: a message and a hint."""
    return unknown(name, project.targets, project.packages)
