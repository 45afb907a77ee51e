"""`bldr fmt`: Builderfiles in their usual form."""

from difflib import unified_diff
from pathlib import Path

import click

from builder.cli.options import directory_option


@click.command(
    epilog="""\b
Examples:
  bldr fmt                 all Builderfiles of the project
  bldr fmt lib/Builderfile this one
  bldr fmt --check         change nothing; exit code 1, and a diff, if something would change

\b
One blank line between blocks, none within; a target's keys in the order of the schema; comments
stay above what they stand above. Scripts and what stands in one line are left as they are.
"""
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Show what would change, and change nothing.")
@directory_option
def command(files: tuple[Path, ...], check: bool, directory: Path) -> int:
    """Write FILES, or all Builderfiles of the project, in their usual form."""
    from builder.assembly.project import SCHEMA
    from builder.client.builderfile import documents
    from builder.client.filestate import replaced
    from builder.host.resources import schema
    from builder.project.formatting import formatted

    order = list(schema(SCHEMA)["$defs"]["target"]["properties"])
    changed = 0
    for path in files or documents(directory.absolute()):
        text = path.read_bytes().decode()
        new = formatted(text, str(path), order)
        if new == text:
            continue
        changed += 1
        if check:
            pair = text.splitlines(), new.splitlines()
            lines = unified_diff(*pair, str(path), "formatted", lineterm="")
            click.echo("\n".join(lines))
            continue
        with replaced(path.resolve()) as temporary:
            temporary.write_text(new)
            temporary.chmod(path.stat().st_mode & 0o7777)
        click.echo(f"[INFO] Formatted {path}")
    return int(check and changed > 0)
