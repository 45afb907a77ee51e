"""A project as the commands find it: the Builderfile of a directory or above it, and its graph."""

from dataclasses import dataclass
from pathlib import Path

from builder.client import builderfile
from builder.client.state import StateDirectory
from builder.client.walk import Walker
from builder.host.resources import schema
from builder.project.graph import Graph, graph

SCHEMA = "builderfile.schema.json"


@dataclass(frozen=True, slots=True)
class Opened:
    """`walker` has found the files of each foreach."""

    root: Path
    graph: Graph
    walker: Walker


def open_project(directory: Path) -> Opened:
    """Raises UsageError, with its place for what is wrong in the Builderfile."""
    start = directory.absolute()
    path = builderfile.find(start)
    memory = StateDirectory(path.parent).checked
    walker = builderfile.walker_of(path.parent)
    project = builderfile.read(path, lambda: schema(SCHEMA), memory, walker, start)
    return Opened(path.parent, graph(project), walker)
