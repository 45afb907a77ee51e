"""The sandbox of this system: Linux's, macOS's or Windows'. None is tried in another's place."""

import importlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from builder.base.errors import UsageError
from builder.sandbox.interface import Sandbox, SandboxError
from builder.sandbox.options import Options

NATIVE = "native"
MACOS, WINDOWS = "darwin", "win32"


@asynccontextmanager
async def open_sandbox(
    *,
    read_only: Sequence[str] = (),
    ready: int = 2,
    root: str = "",
    best_effort: bool = False,
    reuse: bool = False,
    runtime: str = NATIVE,
    system: str = sys.platform,
) -> AsyncIterator[Sandbox]:
    """See `native.open_sandbox`, which is Linux's; `runtime` is another program to make containers
    by there. Raises SandboxError, UsageError."""
    if system in (MACOS, WINDOWS) and runtime != NATIVE:
        raise UsageError(f"sandbox.runtime: {runtime} is for Linux")
    if system in (MACOS, WINDOWS) and root:
        raise UsageError("sandbox.root is for Linux: only there can actions have another root")
    if system == MACOS:
        from builder.sandbox.macos import SeatbeltSandbox

        yield SeatbeltSandbox(Options(tuple(read_only)))
    elif system == WINDOWS:
        yield windows(best_effort)
    elif runtime != NATIVE:
        from builder.sandbox.container import open_containers

        async with open_containers(Options(tuple(read_only), root=root), runtime) as opened:
            yield opened
    else:
        from builder.sandbox import native

        async with native.open_sandbox(
            read_only=read_only, ready=ready, root=root, best_effort=best_effort, reuse=reuse
        ) as isolated:
            yield isolated


def windows(best_effort: bool) -> Sandbox:
    """Raises SandboxError where isolation is required, which Windows is not asked for here."""
    if not best_effort:
        raise SandboxError(
            "the sandbox cannot start: on Windows actions are limited and ended as a whole, but "
            "neither files nor the network are isolated; set sandbox.isolation: best-effort to "
            "accept that"
        )
    from builder.sandbox.windows.runner import WindowsSandbox

    api = importlib.import_module("builder.sandbox.windows.api")
    return WindowsSandbox(api.Windows(), os.cpu_count() or 1)
