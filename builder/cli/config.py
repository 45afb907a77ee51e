"""`builder config`: check, show and describe configuration files."""

import os

import click

from builder.assembly.settings import ENVIRONMENT, read_settings, read_shape
from builder.cli.options import config_option
from builder.config.checks import exposed
from builder.config.loading import Loaded, dotted
from builder.config.showing import as_json, as_yaml
from builder.host.resources import schema_text

SCHEMAS = {False: "config.schema.json", True: "builderfile.schema.json"}
VARIABLES = "\n".join(f"  {name:<21} {', '.join(keys)}" for name, keys in ENVIRONMENT.items())


@click.group(
    epilog=f"""\b
Environment variables and what they set (above the file, below the command line):
{VARIABLES}
""",
)
def command() -> None:
    """Check, show and describe configuration files."""


@command.command(
    epilog="""\b
Examples:
  builder config check coordinator.yaml
  builder config check --elsewhere production.yaml
"""
)
@click.argument("file")
@click.option(
    "--elsewhere",
    is_flag=True,
    help="The file is for another machine: secret files that it names are not read.",
)
def check(file: str, elsewhere: bool) -> None:
    """Is FILE right? Tells every mistake with its line and column.

    Exit code 0 for a valid file, 2 for a wrong one.
    """
    read = read_shape if elsewhere else read_settings
    loaded = read(file, {}, os.environ)
    _report(file, loaded)


def _report(file: str, loaded: Loaded) -> None:
    click.echo(f"{file}: valid (role {loaded.settings.role})")
    for path, address in exposed(loaded.settings).items():
        click.echo(f"warning: {dotted(path)} {address} is open to other machines (insecure: true)")


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is no KEY=VALUE: write for example pool.min=4")
    return key, value


@command.command(
    epilog="""\b
Examples:
  builder config show                      the built-in defaults
  builder config show worker.yaml          what this file makes of them
  builder config show --json worker.yaml
  builder config show --set pool.min=4 single-host.yaml
"""
)
@click.argument("file", required=False)
@config_option
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    callback=lambda _ctx, _param, given: dict(map(_assignment, given)),
    help="Lay a value on top, as a flag of another command does. May be repeated.",
)
@click.option("--json", "json_", is_flag=True, help="As one JSON object.")
def show(file: str | None, config: str | None, overrides: dict[str, str], json_: bool) -> None:
    """Show the effective settings, and where each of them was set.

    Without FILE the one of --config, without any the built-in defaults. The output is a
    configuration file itself. Secrets are not shown.
    """
    loaded = read_settings(file or config, overrides, os.environ)
    write = as_json if json_ else as_yaml
    click.echo(write(loaded.settings, loaded.origins).rstrip())


@command.command(
    epilog="""\b
Example, for an editor that knows the YAML language server:
  builder config schema > builder.schema.json
  # yaml-language-server: $schema=builder.schema.json     (first line of the config file)
"""
)
@click.option("--builderfile", is_flag=True, help="The schema of a Builderfile instead.")
def schema(builderfile: bool) -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(schema_text(SCHEMAS[builderfile]).rstrip())
