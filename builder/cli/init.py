"""`bldr init`: a first Builderfile."""

from pathlib import Path

import click

ADVICE = (
    "install it for all users, or name its directories in 'sandbox.read_only_paths' of the config "
    "and in the PATH of the targets' 'env'"
)


@click.command(
    epilog="""\b
Examples:
  bldr init            C, C++, Go, Rust, Node and Python projects are recognised
  bldr init -C DIR     in another directory
"""
)
@click.option(
    "-C",
    "--directory",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path.cwd,
    help="Write it there.",
)
def command(directory: Path) -> None:
    """Write a Builderfile for what is found here. One that is there already is left alone."""
    from builder.base.errors import UsageError
    from builder.client.initial import initial
    from builder.project.model import FILE_NAMES

    for name in FILE_NAMES:
        if (directory / name).exists():
            raise UsageError(f"{directory / name} is there already; remove it to start anew")
    found = initial(directory)
    (directory / FILE_NAMES[0]).write_text(found.text)
    what = ", ".join(found.kinds) or "nothing that I know: it holds an example"
    click.echo(f"[INFO] Wrote {FILE_NAMES[0]} for {what}")
    for path in found.unseen:
        click.echo(f"[WARNING] {path}: actions are not shown this place; {ADVICE}", err=True)
    click.echo("[INFO] Next: bldr graph, bldr build")
