"""Which target needs which, and everything that can be wrong with that before a file is read.

A target needs those it `depends` on, those whose outputs it names by label, and those that make
a path it names. Globs find source files only, so they make no edge.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.base.errors import UsageError
from builder.project.labels import beneath, full_name, resolved
from builder.project.loader import unknown_target
from builder.project.model import Input, Output, Project, Target
from builder.project.paths import Pattern, is_within, parents

if TYPE_CHECKING:
    from builder.base.document import Path

DEFAULT_TARGET = "default"
Globs = Sequence[tuple[Pattern, str]]  # patterns of outputs, each with its target


@dataclass(frozen=True, slots=True)
class Graph:
    """`needs`: for each target, those directly needed, each once, in the order of the file.

    `makers`: the target of each declared output's path; `globs`: those that are globs.
    """

    project: Project
    needs: Mapping[str, tuple[str, ...]]
    makers: Mapping[str, str]
    globs: tuple[tuple[Pattern, str], ...] = ()

    def closure(self, names: Iterable[str]) -> list[str]:
        """These targets and all that they need, needed ones first."""
        return list(_depth_first(self.needs, names))

    def maker(self, path: str) -> str | None:
        """The target that makes this path, alone, within an output directory, or by a glob."""
        return _maker(path, self.makers, self.globs)

    def outputs(self, name: str) -> list[Output]:
        """What a target's label stands for: its outputs; of a group, those of its members."""
        targets = self.project.targets
        found: dict[str, Output] = {}
        waiting = [name]
        seen: set[str] = set()
        while waiting:
            target = targets[waiting.pop()]
            if target.arguments:
                found.update((output.path, output) for output in target.outputs)
            elif target.name not in seen:
                seen.add(target.name)
                waiting += [depend.target for depend in reversed(target.depends)]
        return list(found.values())

    def select(self, names: Iterable[str]) -> list[str]:
        """The targets that were asked for; without names `default`, or else all of them.

        Names without a package are of the one in which somebody stands. Raises UsageError for an
        unknown name.
        """
        chosen = [one for name in names for one in self._meant(name)]
        if chosen:
            return list(dict.fromkeys(chosen))
        every, here = self.project.targets, self.project.here
        default = full_name(here, DEFAULT_TARGET)
        return [default] if default in every else list(self._beneath(here))

    def _meant(self, text: str) -> list[str]:
        package = beneath(text)
        if package is not None and (found := list(self._beneath(package))):
            return found
        name = resolved(text, self.project.here)
        if name not in self.project.targets:
            message, hint = unknown_target(self.project, name)
            raise UsageError(f"{message} in {self.project.source.source}; {hint}")
        return [name]

    def _beneath(self, package: str) -> Iterator[str]:
        """All targets of a package and of those in directories beneath it."""
        for target in self.project.targets.values():
            if not package or is_within(target.package, package):
                yield target.name


def graph(project: Project) -> Graph:
    """Raises UsageError with file, line and column."""
    makers = _makers(project)
    globs = tuple(
        (output.pattern, target.name)
        for target in project.targets.values()
        for output in target.outputs
        if output.pattern
    )
    needs = {}
    for target in project.targets.values():
        edges = dict(_edges(project, target, makers, globs))
        needs[target.name] = tuple(edges)
    found = Graph(project, needs, makers, globs)
    _check_cycles(found)
    return found


def _maker(path: str, makers: Mapping[str, str], globs: Globs) -> str | None:
    found = next((makers[p] for p in (path, *parents(path)) if p in makers), None)
    if found is None and globs:
        return next((name for pattern, name in globs if pattern.matches(path)), None)
    return found


def _makers(project: Project) -> dict[str, str]:
    """Raises for two outputs of which one is the other or lies in it."""
    declared: dict[str, tuple[Target, Output]] = {}
    for target in project.targets.values():
        for output in target.outputs:
            if output.path in declared:
                other, _ = declared[output.path]
                raise _overlap(target, output, other, output.path)
            declared[output.path] = (target, output)
    globs = [one for one in declared.values() if one[1].pattern]
    for path, (target, output) in declared.items():
        for parent in parents(path):
            if parent in declared:
                raise _overlap(target, output, declared[parent][0], parent)
        for other, glob in globs:
            if output is not glob and glob.holds(path):
                raise _overlap(target, output, other, glob.path)
    return {path: target.name for path, (target, _) in declared.items()}


def _overlap(target: Target, output: Output, other: Target, path: str) -> UsageError:
    position = "the same path" if output.path == path else f"beneath {path!r}"
    whose = "of this target too" if other is target else f"an output of target {other.name!r}"
    return target.source.error(
        output.where,
        f"output {output.path!r} of target {target.name!r} overlaps: {position} is {whose}",
        "each path is made by one target: give each its own",
    )


def _edges(
    project: Project, target: Target, makers: Mapping[str, str], globs: Globs
) -> Iterator[tuple[str, "Path"]]:
    """(needed target, where it is written). Raises for unknown names and for its own outputs."""
    for depend in target.depends:
        yield _known(project, target, depend.target, depend.where), depend.where
    for item in target.inputs:
        if item.target:
            yield _known(project, target, item.target, item.where), item.where
        elif item.pattern and not item.excluded:
            path = item.pattern.base  # all of a plain path, a glob up to its first wildcard
            maker = _maker(path, makers, globs)
            if maker == target.name:
                raise _own_output(target, item, path)
            if maker and not item.pattern.wild:
                yield maker, item.where


def _known(project: Project, target: Target, name: str, where: "Path") -> str:
    if name not in project.targets:
        message, hint = unknown_target(project, name)
        raise target.source.error(where, message, hint)
    if name == target.name:
        raise target.source.error(
            where, f"target {name!r} needs itself", "remove it: a target's own outputs are new"
        )
    return name


def _own_output(target: Target, item: Input, path: str) -> UsageError:
    met = next((repr(other.path) for other in target.outputs if other.holds(path)), "")
    return target.source.error(
        item.where,
        f"input {item.text!r} overlaps {f'the output {met}' if met else 'an output'} of the same "
        f"target {target.name!r}",
        "a command cannot read what it has yet to make: write to another path",
    )


def _check_cycles(graph: Graph) -> None:
    needs = graph.needs
    state: dict[str, int] = {}  # 1: on the path, 2: done
    for root in needs:
        trail: list[str] = []
        stack = [(root, iter(needs[root]))] if root not in state else []
        while stack:
            name, rest = stack[-1]
            if name not in state:
                state[name] = 1
                trail.append(name)
            for needed in rest:
                if state.get(needed) == 1:
                    cycle = [*trail[trail.index(needed) :], needed]
                    raise _cycle(graph, cycle)
                if needed not in state:
                    stack.append((needed, iter(needs[needed])))
                    break
            else:
                state[name] = 2
                trail.pop()
                stack.pop()


def _cycle(graph: Graph, cycle: list[str]) -> UsageError:
    project = graph.project
    target = project.targets[cycle[0]]
    where = dict(_edges(project, target, graph.makers, graph.globs))[cycle[1]]
    return target.source.error(
        where,
        f"targets need each other: {' -> '.join(cycle)}",
        "remove one of these needs",
    )


def _depth_first(needs: Mapping[str, tuple[str, ...]], roots: Iterable[str]) -> Iterator[str]:
    """Everything beneath these and they themselves, each once, children first."""
    seen: set[str] = set()
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(needs[root]))]
        while stack:
            name, rest = stack[-1]
            for needed in rest:
                if needed not in seen:
                    seen.add(needed)
                    stack.append((needed, iter(needs[needed])))
                    break
            else:
                stack.pop()
                yield name
