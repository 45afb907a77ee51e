"""What a command made of what it was to make: outputs that are globs are found out here.

A glob's directory comes back whole, because REAPI's outputs are paths that are named before the
command runs; what does not match, and inputs that lie there too, are left out again.
"""

from collections.abc import Container, Iterable, Mapping

from builder.action.result import Outputs
from builder.action.tree import Entry, File, Folder
from builder.project.model import Output
from builder.project.paths import is_within, parents


def places(outputs: Iterable[Output]) -> list[str]:
    """The paths to bring back, none beneath another one."""
    every = dict.fromkeys(output.place for output in outputs)
    return [path for path in every if not any(above in every for above in parents(path))]


def declared(outputs: Iterable[Output], made: Outputs, inputs: Container[str]) -> Outputs:
    """Only what was declared, each file of a glob as an output of its own."""
    wanted = list(outputs)
    if not any(output.pattern for output in wanted):
        return made
    roots: dict[str, Entry] = {}
    for output in wanted:
        if not output.pattern:
            roots.update({p: e for p, e in made.entries.items() if p == output.path})
            continue
        roots.update(
            (path, entry)
            for path, entry in made.entries.items()
            if not isinstance(entry, Folder) and path not in inputs and output.holds(path)
        )
    return Outputs(roots, _with_all_beneath(roots, made.entries))


def _with_all_beneath(roots: Mapping[str, Entry], entries: Mapping[str, Entry]) -> dict[str, Entry]:
    folders = [path for path, entry in roots.items() if isinstance(entry, Folder)]
    return {
        path: entry
        for path, entry in entries.items()
        if path in roots or any(is_within(path, folder) for folder in folders)
    }


def by_globs(outputs: Iterable[Output], made: Outputs) -> list[str]:
    """Paths of files that no output names by itself."""
    globs = [output for output in outputs if output.pattern]
    return [path for path in made.roots if any(glob.holds(path) for glob in globs)]


def problem(outputs: Iterable[Output], made: Outputs) -> str:
    """Why it is not what was declared; empty when it is."""
    wanted = list(outputs)
    missing = [one.path for one in wanted if not any(one.holds(path) for path in made.roots)]
    if missing:
        return (
            f"the command succeeded without making {', '.join(missing)}; "
            "correct 'outputs', or what the command writes"
        )
    for one in wanted:
        if one.pattern or one.directory == isinstance(made.roots[one.path], Folder):
            continue
        kind, right = ("a file", one.path) if one.directory else ("a directory", one.path + "/")
        return f"output {one.path!r} is {kind}; write {right!r} in 'outputs'"
    return ""


def executables(outputs: Iterable[Output], entries: Mapping[str, Entry]) -> list[str]:
    """Files that can be run, in the order of the declaration."""
    return [
        path
        for output in outputs
        for path, entry in sorted(entries.items())
        if isinstance(entry, File) and entry.executable and output.holds(path)
    ]
