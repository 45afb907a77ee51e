"""`builder cas`: look at, fetch and add blobs; check, copy and shrink a store."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.cli.options import config_option

if TYPE_CHECKING:
    from builder.config.settings import Settings

coordinator_option = click.option("--coordinator", metavar="HOST:PORT", help="The service to ask.")
instance_option = click.option("--instance", metavar="NAME", help="The instance of it.")
store_option = click.option("--store", metavar="DIR", help="The store's directory.")
tier_option = click.option(
    "--tier", metavar="NAME", help="Of a composed storage, one disk, e.g. blobs.near."
)


@click.group(
    epilog="""\b
A DIGEST is HASH/SIZE, or FUNCTION:HASH/SIZE for another function than SHA-256.
get, put, ls and tree ask a running service; verify, stats and gc work on the disks of this
machine's storage while no service uses them; export and import on either.
"""
)
def command() -> None:
    """Blobs: get, put, ls, tree, export, import; verify, stats, gc of a store that stands still."""


def _settings(config: str | None, **given: str | None) -> "Settings":
    from builder.assembly.settings import load_settings  # late: help needs none of it

    names = {"coordinator": "client.coordinator", "instance": "client.instance"}
    names["store"] = "store.path"
    overrides = {names[name]: value for name, value in given.items()}
    return load_settings(config, overrides, os.environ)[0]


@command.command()
@click.argument("digest")
@click.argument("path", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file.")
@config_option
@coordinator_option
@instance_option
def get(
    digest: str,
    path: str | None,
    output: Path | None,
    config: str | None,
    coordinator: str | None,
    instance: str | None,
) -> None:
    """Write a blob to the standard output, or to a file.

    With PATH, DIGEST is a directory's, and what lies there in it is meant.
    """
    import trio

    from builder.assembly import cas

    settings = _settings(config, coordinator=coordinator, instance=instance)
    named = cas.digest_from(digest)

    async def fetch() -> None:
        async with cas.service_blobs(settings) as blobs:
            found = await cas.within(blobs, named, path) if path else named
            if output is None:
                await cas.copy(blobs, found, sys.stdout.buffer)
            else:
                await cas.copy_to(blobs, found, output)

    trio.run(fetch)


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--function", default="sha256", show_default=True, help="The digest function.")
@config_option
@coordinator_option
@instance_option
def put(
    files: tuple[Path, ...],
    function: str,
    config: str | None,
    coordinator: str | None,
    instance: str | None,
) -> None:
    """Upload files; one line for each: its digest and its name."""
    import trio

    from builder.assembly import cas

    settings = _settings(config, coordinator=coordinator, instance=instance)

    async def upload() -> None:
        async with cas.service_blobs(settings) as blobs:
            for file in files:
                digest = await cas.put(blobs, file, function)
                click.echo(f"{digest}  {file}")

    trio.run(upload)


def _list(
    digest: str, deep: bool, config: str | None, coordinator: str | None, instance: str | None
) -> None:
    import trio

    from builder.assembly import cas

    settings = _settings(config, coordinator=coordinator, instance=instance)
    root = cas.digest_from(digest)

    async def show() -> None:
        async with cas.service_blobs(settings) as blobs:
            await cas.each(cas.lines(blobs, root, deep), click.echo)

    trio.run(show)


@command.command("ls")
@click.argument("digest")
@config_option
@coordinator_option
@instance_option
def ls(digest: str, config: str | None, coordinator: str | None, instance: str | None) -> None:
    """List a directory by its digest: kind, digest and name of each entry."""
    _list(digest, False, config, coordinator, instance)


@command.command()
@click.argument("digest")
@config_option
@coordinator_option
@instance_option
def tree(digest: str, config: str | None, coordinator: str | None, instance: str | None) -> None:
    """List a directory by its digest, with all that is below it."""
    _list(digest, True, config, coordinator, instance)


@command.command(
    epilog="""\b
Exit codes: 0 all are whole, 1 some were damaged.
"""
)
@click.option("--repair", is_flag=True, help="Put aside what is damaged; it is missing then.")
@click.option(
    "--from",
    "source",
    metavar="DIR|HOST:PORT",
    help="With --repair: an exported directory or a service that may have whole copies.",
)
@config_option
@store_option
@tier_option
def verify(
    repair: bool, source: str | None, config: str | None, store: str | None, tier: str | None
) -> int:
    """Read every blob of the store and check its hash.

    With --repair what is damaged is put aside and is missing from then on, so that the next build
    uploads or makes it again, if it is not healed with --from.
    """
    import trio

    from builder.assembly import upkeep

    settings = _settings(config, store=store)
    found = trio.run(upkeep.verify, settings, click.echo, repair, source, tier)
    told = f", {found.healed} healed" if source is not None else ""
    click.echo(f"{found.checked} blobs checked, {found.damaged} damaged{told}")
    return 1 if found.damaged > found.healed else 0


def _progress(line: str) -> None:
    """Over itself on a terminal; nowhere else."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{line}", err=True, nl=False)


def _end_of_progress() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", err=True, nl=False)


def _complain(line: str) -> None:
    click.echo(line, err=True)


@command.command(
    epilog="""\b
builder cas export DIR DIGEST...           # of a running service
builder cas export DIR --store STORE       # everything, while no service uses it
"""
)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.argument("digests", nargs=-1, metavar="[DIGEST]...")
@click.option("--tree", is_flag=True, help="Each DIGEST is a directory's: with all below it.")
@config_option
@coordinator_option
@instance_option
@store_option
def export(
    directory: Path,
    digests: tuple[str, ...],
    tree: bool,
    config: str | None,
    coordinator: str | None,
    instance: str | None,
    store: str | None,
) -> None:
    """Copy blobs into DIRECTORY, as files blobs/FUNCTION/HASH.

    What is there is not copied again, so one that was cut short goes on.
    """
    import trio

    from builder.assembly import cas, upkeep

    settings = _settings(config, coordinator=coordinator, instance=instance, store=store)
    named = [cas.digest_from(digest) for digest in digests]
    said = trio.run(upkeep.export_to, settings, directory, named, tree, _progress)
    _end_of_progress()
    click.echo(said)


@command.command(
    "import",
    epilog="""\b
Exit codes: 0 all was taken, 1 some files are not what their names say.
""",
)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@config_option
@coordinator_option
@instance_option
@store_option
def import_(
    directory: Path,
    config: str | None,
    coordinator: str | None,
    instance: str | None,
    store: str | None,
) -> int:
    """Copy the blobs of DIRECTORY into a service, or with --store into a store.

    DIRECTORY is one that was exported, or any with files blobs/FUNCTION/HASH, as an OCI image
    layout has them. What is there is not copied again.
    """
    import trio

    from builder.assembly import upkeep

    settings = _settings(config, coordinator=coordinator, instance=instance, store=store)
    said, wrong = trio.run(
        upkeep.import_from, settings, directory, store is not None, _progress, _complain
    )
    _end_of_progress()
    click.echo(said)
    return 1 if wrong else 0


@command.command()
@config_option
@store_option
@tier_option
def stats(config: str | None, store: str | None, tier: str | None) -> None:
    """How much the store holds."""
    import trio

    from builder.assembly import upkeep

    for label, figure in trio.run(upkeep.stats, _settings(config, store=store), tier):
        click.echo(f"{label}: {figure}")


@command.command()
@click.option("--to", "size", metavar="SIZE", required=True, help="What may stay, e.g. 5GiB.")
@config_option
@store_option
@tier_option
def gc(size: str, config: str | None, store: str | None, tier: str | None) -> None:
    """Evict what was used the longest time ago, until SIZE is left.

    What is promised to clients stays, whatever SIZE says.
    """
    import trio

    from builder.assembly import upkeep
    from builder.base.units import parse_size

    settings = _settings(config, store=store)
    click.echo(trio.run(upkeep.shrink, settings, parse_size(size), tier))
