"""`builder` and `bldr`: one command under two names."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import PurePath

import click

from builder.base.version import VERSION
from builder.cli.errors import ending
from builder.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "build": Entry("builder.cli.build", "Build targets of a Builderfile, here or remotely."),
    "test": Entry("builder.cli.test", "Run tests, and tell how they went."),
    "run": Entry("builder.cli.run", "Build a program, then start it."),
    "shell": Entry("builder.cli.shell", "Open a shell in a target's sandbox."),
    "watch": Entry("builder.cli.rebuild", "Build again whenever something changes."),
    "verify": Entry("builder.cli.verify", "Does a target make the same bytes each time?"),
    "init": Entry("builder.cli.init", "Write a Builderfile for what is found here."),
    "clean": Entry("builder.cli.clean", "Remove what builds have made."),
    "graph": Entry("builder.cli.graph", "Show which target needs which: text, DOT, SVG."),
    "query": Entry("builder.cli.query", "Ask about targets: deps, rdeps, inputs, somepath."),
    "explain": Entry("builder.cli.explain", "Tell why a target ran, and what has changed since."),
    "fmt": Entry("builder.cli.fmt", "Write Builderfiles in their usual form."),
    "log": Entry("builder.cli.log", "Show the builds of this project so far."),
    "serve": Entry("builder.cli.serve", "Run the service: coordinator, storage and workers."),
    "worker": Entry("builder.cli.worker", "Run one worker that joins a coordinator."),
    "remote": Entry("builder.cli.remote", "See and steer a running service."),
    "cas": Entry("builder.cli.cas", "Get, put and list blobs; check and shrink a store."),
    "pool": Entry("builder.cli.pool", "Compare autoscaling policies on traces of work."),
    "config": Entry("builder.cli.config", "Check, show and describe configuration files."),
    "doctor": Entry("builder.cli.doctor", "Tell what this host can isolate and limit."),
    "version": Entry("builder.cli.version", "Show the version."),
}
COMMAND_OF_ROLE = {"all": "serve", "coordinator": "serve", "worker": "worker", "client": "build"}
EXAMPLES = """\
\b
Examples:
  builder serve                         a whole service on this machine, no config needed
  bldr build cpp_project                build here, in the sandbox
  bldr build cpp_project --remote       build on the configured coordinator
  bldr build cpp_project --remote=local build through a service inside this process
  builder remote status                 what the service is doing
  builder --config worker.yaml          run the role that the file declares
  builder config check worker.yaml      is this file right?

\b
Exit codes: 0 done, 1 failed, 2 wrong arguments, config or Builderfile, 130 interrupted.
Completion of commands, options and targets: eval "$(_BLDR_COMPLETE=bash_source bldr)", and for zsh
and fish with their names.
Environment: BUILDER_CONFIG names the config file; BUILDER_DEBUG=1 shows tracebacks.
"""


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    invoke_without_command=True,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--config",
    metavar="FILE",
    envvar="BUILDER_CONFIG",
    help="Configuration file. Without a command, runs the role that the file declares.",
)
@click.version_option(VERSION, prog_name="builder", message="%(prog)s %(version)s")
@click.pass_context
def program(ctx: click.Context, config: str | None) -> None:
    """Remote builds from one file: a Remote Execution API service, a pool of workers that run
    each action in a sandbox, and a build client with its own Builderfile."""
    if ctx.invoked_subcommand is not None:
        return
    if config is None:
        click.echo(ctx.get_help())
        return
    ctx.exit(_run_role(ctx, config))


def _run_role(ctx: click.Context, config: str) -> int:
    from builder.assembly.settings import load_settings  # late: only this path needs it

    settings, _ = load_settings(config, {}, os.environ)
    name = COMMAND_OF_ROLE[settings.role]
    args = list(settings.client.targets) if settings.role == "client" else []
    command = program.get_command(ctx, name)
    assert command is not None  # a test goes through the table
    with command.make_context(name, args, parent=ctx) as sub:
        result = command.invoke(sub)
    return result if isinstance(result, int) else 0


def program_name(argv0: str) -> str:
    """How the person called it: `builder`, `bldr`, `builder.pyz`."""
    name = PurePath(argv0).name
    return "builder" if name in ("", "__main__.py", "-c", "-m") else name


def run(args: Sequence[str], name: str, group: click.Command = program) -> int:
    """Runs one command line; the exit code. An int that a command returns is its exit code."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `cli.start`
            signal.signal(signal.SIGINT, signal.default_int_handler)
        result = group.main(list(args), prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        if os.environ.get("BUILDER_DEBUG"):
            traceback.print_exc()
        if isinstance(error, BrokenPipeError):
            _forget_output()
        message, code = ending(error)
        if message:
            click.echo(message, err=True)
        return code
    return result if isinstance(result, int) else 0


def _forget_output() -> None:
    """Nobody reads it: what is still buffered must not fail again when the process ends."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def main() -> None:
    """The console script. Ends the process."""
    sys.exit(run(sys.argv[1:], program_name(sys.argv[0])))
