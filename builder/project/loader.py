"""A Builderfile's plain values as a Project.

The document has been held against `builderfile.schema.json` before, so types and keys are right
here; what a schema cannot say is checked here and in `graph`: paths, labels, and what only makes
sense together.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from builder.base.nearest import nearest
from builder.base.units import parse_duration, parse_size
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
)
from builder.project.paths import WILD, PathError, normalise, pattern

if TYPE_CHECKING:  # a Builderfile that is known already needs no parser
    from builder.base.document import Document, Path

# bash, because pipefail is no part of the /bin/sh of every worker, and a script must not mean
# one thing here and another thing there. Who wants another shell writes the list himself.
SHELL = ("/bin/bash", "-e", "-o", "pipefail", "-c")
IGNORED_PREFIX = "x-"


def validate(document: "Document", schema: Mapping[str, Any]) -> None:
    """Raises DocumentError for what the schema does not allow."""
    from builder.base.validation import require  # late, with all that it imports

    value = document.value
    if not isinstance(value, dict) or not value:
        raise document.error((), "there is no target here", "write 'target NAME:' and its keys")
    for key, body in value.items():
        if key.startswith(IGNORED_PREFIX):
            continue
        if not key.startswith(TARGET_PREFIX):
            name = key if isinstance(body, dict) and key != "targets" else "NAME"
            hint = f"at the top there are targets only: write 'target {name}:'"
            raise document.error((key,), f"unknown key {key!r}", hint, key=True)
    require(document, schema)


def load(source: Source) -> Project:
    """Raises UsageError with file, line and column."""
    blocks = cast("dict[str, Any]", source.value)
    targets: dict[str, Target] = {}
    for key, block in blocks.items():
        if key.startswith(TARGET_PREFIX):
            name = key.removeprefix(TARGET_PREFIX)
            targets[name] = _target(source, name, block or {})
    if not targets:
        raise source.error((), "there is no target here", "write 'target NAME:' and its keys")
    return Project(targets, source)


def _target(source: Source, name: str, block: dict[str, Any]) -> Target:
    where: Path = (TARGET_PREFIX + name,)
    target = Target(
        name=name,
        arguments=_arguments(block.get("command", ())),
        inputs=tuple(_inputs(source, (*where, "inputs"), block.get("inputs", ()))),
        outputs=tuple(_outputs(source, (*where, "outputs"), block.get("outputs", ()))),
        depends=tuple(
            Depend(text.removeprefix(":"), (*where, "depends", number))
            for number, text in enumerate(block.get("depends", ()))
        ),
        environment={key: str(value) for key, value in block.get("env", {}).items()},
        hermetic=_hermetic(source, (*where, "hermetic"), block.get("hermetic", {})),
        remote=block.get("remote", True) is True,
        cache=block.get("cache", True),
        parallelism=block.get("parallelism", 0),
        priority=Priority[block.get("priority", "normal").upper()],
        description=block.get("description", ""),
    )
    _check_together(source, target, block)
    return target


def _check_together(source: Source, target: Target, block: dict[str, Any]) -> None:
    if "\0" in "".join(target.arguments):
        raise source.error((*target.where, "command"), "a command cannot hold a NUL character")
    if target.arguments and not target.arguments[0]:
        raise source.error((*target.where, "command", 0), "the program's name is empty")
    if target.arguments:
        return
    for key in ("inputs", "outputs", "env", "hermetic"):
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


def _arguments(command: str | list[str | int] | tuple[()]) -> tuple[str, ...]:
    if isinstance(command, str):
        return (*SHELL, command)
    return tuple(str(argument) for argument in command)


def _inputs(source: Source, where: "Path", texts: list[str]) -> Iterator[Input]:
    for number, text in enumerate(texts):
        here = (*where, number)
        if text.startswith(":"):
            yield Input(text, here, target=text[1:])
            continue
        if text.startswith("//"):
            raise source.error(
                here,
                f"{text!r} names a target of another package, and there is one package only",
                "write ':name' for a target of this file",
            )
        excluded = text.startswith("!")
        try:
            yield Input(text, here, pattern(text.removeprefix("!")), excluded)
        except PathError as error:
            raise source.error(here, str(error), error.hint) from None


def _outputs(source: Source, where: "Path", texts: list[str]) -> Iterator[Output]:
    for number, text in enumerate(texts):
        here = (*where, number)
        if WILD & set(text):
            raise source.error(
                here,
                f"output {text!r} is a glob, and outputs are named before the command runs",
                "name the file, or the directory that will hold the files: for example build/",
            )
        try:
            yield Output(normalise(text), text.endswith("/"), here)
        except PathError as error:
            raise source.error(here, str(error), error.hint) from None


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
        network=block.get("network", False),
    )


def unknown_target(project: Project, name: str) -> tuple[str, str]:
    """What to say of a name that no target has: a message and a hint."""
    meant = nearest(name, project.targets)
    message = f"there is no target {name!r}"
    if meant:
        message += f"; did you mean {meant!r}?"
    return message, f"targets here: {', '.join(project.targets)}"
