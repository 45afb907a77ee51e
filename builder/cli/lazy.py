"""A click group that imports a command only when it is run.

`--help` of the group shows the short texts of the table and imports nothing, and `bldr build`
does not pay for the server.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import click

from builder.base.errors import BuilderError
from builder.base.nearest import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """Where a command lives (`module` has it as `command`), and its line in the group's help."""

    module: str
    help: str


class LazyGroup(click.Group):
    def __init__(self, *args: object, entries: Mapping[str, Entry], **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]  # passed on as they came
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx  # click's signature
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx  # click's signature
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        try:
            command: object = import_module(entry.module).command
        except ModuleNotFoundError as error:
            raise BuilderError(_missing(cmd_name, entry, error)) from error
        assert isinstance(command, click.Command), entry.module
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self._entries and not name.startswith("-"):
            meant = nearest(name, self._entries)
            hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(self._entries)}"
            raise click.UsageError(f"no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """From the table, too: at each press of the key."""
        from click.shell_completion import CompletionItem  # late: a shell asks for it

        found = [
            CompletionItem(name, help=entry.help)
            for name, entry in self._entries.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx  # click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._entries.items()])


def _missing(name: str, entry: Entry, error: ModuleNotFoundError) -> str:
    if error.name == entry.module:
        return f"the command {name!r} is not part of this version of builder"
    package = (error.name or "").partition(".")[0]
    return (
        f"the command {name!r} needs the Python package {package!r}, which is not installed; "
        "use builder.pyz, which brings all that it needs, or install it with pip"
    )
