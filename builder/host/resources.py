"""Files that travel with the program: the JSON Schemas.

In a wheel and in the zipapp `schema/` lies inside the package, as `_schema`; in a checkout it
lies beside the package.
"""

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

INSIDE = "_schema"
BESIDE = "schema"


def schema_text(name: str) -> str:
    """The text of one file of `schema/`, for example `config.schema.json`."""
    package = resources.files("builder")
    inside = package.joinpath(INSIDE, name)
    if inside.is_file():
        return inside.read_text(encoding="utf-8")
    return (Path(str(package)).parent / BESIDE / name).read_text(encoding="utf-8")


@cache
def schema(name: str) -> dict[str, Any]:
    """The schema itself; read once, so nobody may change it."""
    loaded: dict[str, Any] = json.loads(schema_text(name))
    return loaded
