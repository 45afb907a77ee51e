"""Caches of workers that have ended, removed behind everybody's back.

A big input cache takes seconds to remove, and neither a worker's end nor the service's should
wait for that. A worker of a local pool renames its cache to beside its own directory; the
service, which owns the directory of all of them, removes such leftovers while it runs, and at
its start those of an earlier run, killed workers' whole directories included.
"""

import os
import time
from pathlib import Path

import trio

from builder.host.removal import remove_tree

PREFIX = ".leftover-"
SWEEP_EVERY_S = 30.0


def set_aside(cache: Path) -> None:
    """Rename `worker/cache` to beside `worker`; where that cannot be, it is removed at once."""
    try:
        cache.rename(cache.parent.parent / _name())
    except FileNotFoundError:
        return
    except OSError:
        remove_tree(str(cache))


def set_all_aside(folder: Path) -> None:
    """What an earlier run left: call it before there are workers."""
    for entry in list(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith(PREFIX):
            entry.rename(folder / _name())


async def sweep(folder: Path) -> None:
    """Remove leftovers for ever. Cancelled, it leaves the rest for another time."""
    while True:
        await trio.to_thread.run_sync(remove_leftovers, folder, abandon_on_cancel=True)
        await trio.sleep(SWEEP_EVERY_S)


def remove_leftovers(folder: Path) -> None:
    for entry in list(folder.glob(f"{PREFIX}*")):
        remove_tree(str(entry))


def _name() -> str:
    return f"{PREFIX}{os.getpid()}-{time.monotonic_ns()}"
