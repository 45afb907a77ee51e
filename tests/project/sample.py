"""Projects out of text, for tests."""

import json
from pathlib import Path
from textwrap import dedent

from builder.base.document import parse
from builder.project.graph import Graph, graph
from builder.project.loader import load, validate
from builder.project.model import Project

SCHEMA = json.loads((Path(__file__).parents[2] / "schema" / "builderfile.schema.json").read_text())


def project(text: str) -> Project:
    """As the client does it: parsed, held against the schema, loaded."""
    document = parse(dedent(text), "Builderfile")
    validate(document, SCHEMA)
    return load(document)


def graph_of(text: str) -> Graph:
    return graph(project(text))


def chain(needs: dict[str, list[str]], **more: dict[str, object]) -> Graph:
    """A graph of targets that do `true`, from what each needs; `more` are keys of a target."""
    blocks = {
        f"target {name}": {"command": ["true"], "depends": depends, **more.get(name, {})}
        for name, depends in needs.items()
    }
    return graph_of(json.dumps(blocks))
