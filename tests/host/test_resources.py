"""Schemas that travel with the program."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from builder.host.resources import schema, schema_text

ROOT = Path(__file__).parents[2]


def test_the_schema_of_the_checkout() -> None:
    """It is the file beside the package."""
    text = schema_text("config.schema.json")
    assert text == (ROOT / "schema" / "config.schema.json").read_text()
    assert schema("config.schema.json") == json.loads(text)


def test_a_schema_that_is_not_there() -> None:
    """It is an error with its name."""
    with pytest.raises(FileNotFoundError, match=r"nope\.json"):
        schema_text("nope.json")


@pytest.mark.parametrize("packed", [False, True], ids=["installed", "zipped"])
def test_the_schema_inside_of_the_package(tmp_path: Path, packed: bool) -> None:
    """In a wheel it lies in the package; a zip that is imported from will do as well."""
    names = ["builder/__init__.py", "builder/host/__init__.py", "builder/host/resources.py"]
    archive = tmp_path / "it.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.write(ROOT / name, name)
        file.writestr("builder/_schema/config.schema.json", '{"from": "inside"}')
    where = archive
    if not packed:
        where = tmp_path / "site"
        with zipfile.ZipFile(archive) as file:
            file.extractall(where)
    program = (
        f"import sys; sys.path.insert(0, {str(where)!r})\n"
        "from builder.host.resources import schema_text\n"
        "print(schema_text('config.schema.json'))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == '{"from": "inside"}\n'
