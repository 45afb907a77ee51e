"""A shell in a target's sandbox, on this machine, for `bldr shell`.

    terminal <--> us <--> pty  ~~~~ its other end goes through a socket ~~~~>  relay -> the shell

The sandbox is that of any action, so nothing has a way in but what it shows: the directory with our
socket is shown read-only, the relay there takes the descriptors of the shell's terminal, and the
rest is as if the target's command were run. What is no terminal (a pipe) is handed over as it is.
"""

import fcntl
import os
import pty
import signal
import socket
import struct
import sys
import tempfile
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import trio

from builder.action.encode import prepare
from builder.action.tree import Entry
from builder.assembly.client import Request, platform, run
from builder.assembly.places import open_here
from builder.assembly.project import Opened, open_project
from builder.base.errors import BuilderError, UsageError
from builder.client.executor import Place, Ticket
from builder.client.state import StateDirectory
from builder.client.target import step_of
from builder.client.upload import Uploader
from builder.client.workspace import Workspace
from builder.config.settings import Settings
from builder.project.model import Target
from builder.project.paths import is_within
from builder.reapi.status import to_error

RELAY = """
import array, fcntl, os, socket, sys, termios
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
_, sent, _, _ = link.recvmsg(1, socket.CMSG_LEN(12))
ends = array.array("i", sent[0][2])
link.close()
try:
    os.setsid()
except OSError:
    pass
for number, end in enumerate(ends):
    os.dup2(end, number)
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[2], sys.argv[2:])
"""
SHELL = ("/bin/bash", "--norc", "--noprofile")
OWN_TO_SANDBOX = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  it has its own in their places
PIECE = 65536


def shell(request: Request, settings: Settings, command: tuple[str, ...]) -> int:
    """Build what the one target needs, then run SHELL, or `command`; its exit code.

    Raises UsageError for a target without a sandbox, BuilderError when it cannot be opened.
    """
    opened = open_project(request.directory)
    (name,) = opened.graph.select(request.targets)
    target = opened.graph.project.targets[name]
    if not target.arguments:
        raise UsageError(f"target {name!r} is a group and has no sandbox; name one of its members")
    made: dict[str, Mapping[str, Entry]] = {}
    if needs := opened.graph.needs[name]:
        finished = run(request, settings, opened, needs)
        if finished.summary is None or finished.code:
            return finished.code
        made = {one: built.entries for one, built in finished.summary.built.items()}
    return trio.run(_shell, opened, settings, target, made, command or SHELL)


async def _shell(
    opened: Opened,
    settings: Settings,
    target: Target,
    made: Mapping[str, Mapping[str, Entry]],
    command: tuple[str, ...],
) -> int:
    state = StateDirectory(opened.root).path
    workspace = Workspace(opened.root, opened.graph, walker=opened.walker)
    inputs = await workspace.inputs(target, made)
    with _listening() as (folder, listener):
        shown = (*settings.sandbox.read_only_paths, folder)
        settings = replace(settings, sandbox=replace(settings.sandbox, read_only_paths=shown))
        async with open_here(state, settings, _say) as place:
            target = _as_shell(target, settings, (f"{folder}/shell", *command))
            prepared = prepare(step_of(target, platform()), inputs)
            uploader = Uploader(place.blobs)
            missing = await uploader.missing(prepared.digests)
            await uploader.send(missing, prepared.blobs, workspace.paths(inputs))
            return await _run(place, Ticket(prepared.action, target.name), listener)


def _say(text: str) -> None:
    sys.stderr.write(f"[INFO] {text}\n")


def _as_shell(target: Target, settings: Settings, rest: tuple[str, ...]) -> Target:
    """The same inputs, limits and environment; another command, for as long as it takes."""
    prompt = {"PS1": f"[{target.name}] \\w$ ", "TERM": os.environ.get("TERM", "dumb")}
    hermetic = replace(target.hermetic, timeout_s=settings.scheduler.max_timeout, audit=None)
    return replace(
        target,
        arguments=("python3", "-I", "-S", "-c", RELAY, *rest),
        environment={**prompt, **target.environment},
        hermetic=hermetic,
        cache=False,
    )


async def _run(place: Place, ticket: Ticket, listener: socket.socket) -> int:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_serve, listener)
        response = await place.executor.execute(ticket, lambda _metadata: None)
        nursery.cancel_scope.cancel()
    if response.status.code:
        raise to_error(response.status)
    if said := response.result.stderr_raw.decode(errors="replace"):  # the relay's, not the shell's
        raise BuilderError(f"the sandbox has no way for a shell (it needs python3): {said.strip()}")
    return response.result.exit_code


async def _serve(listener: socket.socket) -> None:
    """Hand over our standard streams, or a terminal in their place that is carried to ours."""
    await trio.lowlevel.wait_readable(listener)
    link, _ = listener.accept()
    with link:
        if not (os.isatty(0) and os.isatty(1)):
            socket.send_fds(link, [b"-"], [0, 1, 2])
            return
        ours, theirs = pty.openpty()
        _copy_size(ours)
        socket.send_fds(link, [b"-"], [theirs] * 3)
        os.close(theirs)
    with _raw():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_resize, ours)
            nursery.start_soon(_carry, 0, ours)
            await _carry(ours, 1)
            nursery.cancel_scope.cancel()


async def _carry(source: int, target: int) -> None:
    """Until the end; that of a pty is EIO."""
    with suppress(OSError):
        while True:
            await trio.lowlevel.wait_readable(source)
            if not (data := os.read(source, PIECE)):
                return
            while data:
                await trio.lowlevel.wait_writable(target)
                data = data[os.write(target, data) :]


async def _resize(terminal: int) -> None:
    with trio.open_signal_receiver(signal.SIGWINCH) as signals:
        async for _ in signals:
            _copy_size(terminal)


def _copy_size(terminal: int) -> None:
    with suppress(OSError):
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


@contextmanager
def _raw() -> Iterator[None]:
    """Every key goes to the shell; all as before in the end."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _can_show(place: str) -> bool:
    real = os.path.realpath(place)
    hidden = any(is_within(real, one) for one in OWN_TO_SANDBOX)
    return bool(place) and not hidden and os.access(place, os.W_OK | os.X_OK)


@contextmanager
def _listening() -> Iterator[tuple[str, socket.socket]]:
    """A directory that the sandbox can be shown (it has a /tmp of its own), and a socket in it."""
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), "/run", str(Path.home())]
    place = next((one for one in places if _can_show(one)), None)
    if place is None:
        raise BuilderError(
            "no directory for the shell's socket: set XDG_RUNTIME_DIR to one that you may write "
            f"to, and that is not beneath {', '.join(OWN_TO_SANDBOX)}"
        )
    with tempfile.TemporaryDirectory(prefix="bldr-shell-", dir=place) as folder:
        os.chmod(folder, 0o711)  # noqa: S103  another user is in the sandbox; the name is a secret
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/shell")
            os.chmod(f"{folder}/shell", 0o666)  # noqa: S103  as above
            listener.listen(1)
            listener.setblocking(False)
            yield folder, listener
