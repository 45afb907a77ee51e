"""A whole service inside this process, for `bldr build --remote=local`.

The same coordinator, storage, scheduler and worker as elsewhere, over a loopback port that the
system chooses; only the worker is a task and not a process.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import trio

from builder.assembly.coordinator import Hooks, open_coordinator
from builder.assembly.images import image_platform
from builder.assembly.worker import (
    is_best_effort,
    is_reusing,
    open_worker,
    own_platform,
    policy_of,
    worker_setup,
)
from builder.base.errors import UnavailableError, UsageError
from builder.config.kinds import Address
from builder.config.settings import Auth, Settings, Tls
from builder.host.lock import owned
from builder.sandbox.opening import open_sandbox

JOIN_S = 20.0
MOST_AT_ONCE = 16  # services of this kind that one user runs at a time
ANY_PORT = Address("127.0.0.1", 0)


@asynccontextmanager
async def local_service(settings: Settings) -> AsyncIterator[str]:
    """The address of a service that has a worker. Raises UsageError, SandboxError."""
    base = Path(settings.store.path).parent
    with _free_folder(base) as folder:
        joined = trio.Event()
        hooks = Hooks(joined=lambda _name: joined.set())
        async with (
            open_sandbox(
                read_only=settings.sandbox.read_only_paths,
                root=settings.sandbox.root or "",
                runtime=settings.sandbox.runtime,
                best_effort=is_best_effort(settings),
                reuse=is_reusing(settings),
            ) as sandbox,
            open_coordinator(_own(settings, folder), hooks) as coordinator,
        ):
            setup = replace(
                worker_setup(settings),
                name="worker-1",
                coordinator=coordinator.coordinator,
                scratch=folder / "worker",
                platform={
                    **own_platform(settings.pool.name),
                    **image_platform(settings.sandbox.images),
                },
                policy=policy_of(settings),
                peers=None,  # there are no others
            )
            async with open_worker(setup, sandbox) as program, trio.open_nursery() as nursery:
                nursery.start_soon(program.run)
                with trio.move_on_after(JOIN_S):
                    await joined.wait()
                if not joined.is_set():
                    raise UnavailableError(f"the worker did not join within {JOIN_S:g} s")
                yield coordinator.coordinator
                nursery.cancel_scope.cancel()


def _own(settings: Settings, folder: Path) -> Settings:
    """The same settings on ports and in a directory of its own, for one worker."""
    return replace(
        settings,
        role="all",
        pools=(),
        coordinator=replace(settings.coordinator, listen=ANY_PORT, join_token=None),
        reapi=replace(settings.reapi, listen=ANY_PORT),
        auth=Auth(),
        tls=Tls(),
        store=replace(settings.store, path=str(folder / "store")),
    )


@contextmanager
def _free_folder(base: Path) -> Iterator[Path]:
    """The first of a few directories that no other service has, so that its cache is met again."""
    refused: UsageError | None = None
    with ExitStack() as stack:
        for number in range(1, MOST_AT_ONCE + 1):
            folder = base / f"local-{number}"
            try:
                stack.enter_context(owned(folder, "directory of the local service"))
            except UsageError as error:
                refused = refused or error
                continue
            yield folder
            return
    assert refused is not None
    raise refused
