"""Why a target ran, and whether it would run now."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from builder.action.difference import Notes, bare, differences, notes_of
from builder.action.tree import Entry
from builder.base.errors import BuilderError
from builder.base.shown import ago, format_duration
from builder.client.filestate import FileStates
from builder.client.history import History
from builder.client.scan import Scanner
from builder.client.state import StateDirectory
from builder.client.target import step_of
from builder.client.tools import Tools
from builder.client.walk import Walker
from builder.project.graph import Graph

Recall = Callable[[str], Mapping[str, Any] | None]


def explanation(
    graph: Graph,
    root: Path,
    walker: Walker,
    name: str,
    platform: tuple[tuple[str, str], ...],
    recall: Recall | None = None,
) -> Iterator[str]:
    """Lines for people: what happened last, why, and what has changed since.

    `recall` finds what happened last somewhere else than in this project's own history.
    """
    target = graph.project.targets[name]
    if not target.arguments:
        needs = ", ".join(graph.needs[name])
        yield f"{name} has no command of its own; it stands for {needs}"
        return
    state = StateDirectory(root)
    last = (recall or History(state.history).last)(name)
    if last is None:
        yield _unknown(name, there=recall is not None)
        return
    yield f"{name}: {_how(last)}"
    yield from (f"  because {reason}" for reason in last["reasons"] or ["it was new here"])
    tools = Tools(state.path / "tools.json")
    files = FileStates(root, state.files, last.get("function", "sha256"))
    scanner = Scanner(graph, walker, files)
    try:
        made = {needed: _outputs(graph, walker, files, needed) for needed in graph.closure([name])}
        inputs = scanner.inputs(target, made)
        step = step_of(target, platform, tools.identities(target))
    except BuilderError as error:
        yield f"  and now it cannot be built: {error}"
        return
    yield from _since(bare(last["notes"]), bare(notes_of(step, inputs)))


def _unknown(name: str, *, there: bool) -> str:
    if there:
        return f"the coordinator does not remember that {name} ran"
    return f"{name} has not been built in this directory yet (--remote asks the coordinator)"


def _how(last: Mapping[str, Any]) -> str:
    where = f" on {last['where']}" if last.get("where") else ""
    took = f" in {format_duration(last['seconds'])}" if "seconds" in last else ""
    return f"{last['how']} {ago(time.time() - last['at'])} ago{where}{took}"


def _since(then: Notes, now: Notes) -> Iterator[str]:
    changes = differences(then, now)
    if not changes:
        yield "  since then nothing has changed"
        return
    yield from (f"  since then {change}" for change in changes)


def _outputs(graph: Graph, walker: Walker, files: FileStates, name: str) -> dict[str, Entry]:
    """What lies at a target's outputs now; what is not there is left out."""
    found: dict[str, Entry] = {}
    for output in graph.project.targets[name].outputs:
        paths = walker.find([output.pattern], []) if output.pattern else [output.path]
        for path in paths:
            found |= walker.entries(path, files)
    return found
