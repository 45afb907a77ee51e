"""Whatever is wrong with a service is shown wherever somebody may look, while it is so."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import trio

from builder.assembly.coordinator import Coordinator, Hooks, open_coordinator
from builder.assembly.pages import open_pages
from builder.assembly.settings import load_settings
from builder.net.channel import Channel
from builder.reapi.pb import health_pb2
from builder.server.health import PART
from tests.server.farm import Farm

CONFIG = """
role: coordinator
coordinator: {{listen: "127.0.0.1:0"}}
reapi: {{listen: "127.0.0.1:0"}}
metrics: {{listen: "127.0.0.1:0"}}
artifacts: {{enabled: false}}
store: {{path: {root}}}
"""
CHECK = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = 1, 2


@dataclass
class Shown:
    """A service, and those who look at it. `provider` is what its provider complains of."""

    made: Coordinator
    farm: Farm
    http: httpx.AsyncClient
    root: Path
    provider: list[str] = field(default_factory=list)

    async def checked(self, name: str) -> int:
        request = health_pb2.HealthCheckRequest(service=name).SerializeToString()
        answer = await self.farm.channel.unary(CHECK, request)
        return health_pb2.HealthCheckResponse.FromString(answer).status

    async def until(self, component: str, says: str, *, ready: bool) -> None:
        """All of them tell it, and whether the service takes work."""
        wanted = (200 if ready else 503, SERVING if ready else NOT_SERVING, NOT_SERVING)
        while True:
            readiness = await self.http.get("/readyz")
            health = await self.http.get("/healthz")
            found = (readiness.status_code, await self.checked(""))
            if (*found, await self.checked(PART + component)) == wanted and all(
                says in one.text for one in (readiness, health)
            ):
                assert health.status_code == 200
                return
            await trio.sleep(0.02)

    async def until_well(self) -> None:
        while True:
            told = (await self.http.get("/readyz")).text
            if told == "ready\n" and await self.checked("") == SERVING:
                return
            await trio.sleep(0.02)


@asynccontextmanager
async def no_storage(shown: Shown) -> AsyncIterator[None]:
    """Its directory goes away under it."""
    away = shown.root.rename(shown.root.with_name("away"))
    yield
    away.rename(shown.root)


def short_of(**thresholds: float) -> Callable[[Shown], AbstractAsyncContextManager[None]]:
    """What this machine has, against a threshold that no machine can meet."""

    @asynccontextmanager
    async def cause(shown: Shown) -> AsyncIterator[None]:
        wellbeing = shown.made.wellbeing
        before = wellbeing.thresholds
        wellbeing.thresholds = replace(before, **thresholds)
        yield
        wellbeing.thresholds = before

    return cause


@asynccontextmanager
async def silent_worker(shown: Shown) -> AsyncIterator[None]:
    """It should have said something by now."""
    wellbeing = shown.made.wellbeing
    before = wellbeing.settings
    scheduler = replace(before.scheduler, heartbeat_interval=1e-9)
    async with shown.farm.worker("silent"):
        wellbeing.settings = replace(before, scheduler=scheduler)
        yield
        wellbeing.settings = before


@asynccontextmanager
async def cut_off(shown: Shown) -> AsyncIterator[None]:
    """Of three workers two are given up at once."""
    async with AsyncExitStack() as stack:
        for name in ("one", "two", "three"):
            await stack.enter_async_context(shown.farm.worker(name))
        for name in ("one", "two"):
            shown.made.worker_vanished(name, "cannot be reached")
        yield
        shown.made.wellbeing.lost.clear()


@asynccontextmanager
async def long_queue(shown: Shown) -> AsyncIterator[None]:
    """One slot for two actions, where nothing is allowed to wait."""
    farm, thresholds = shown.farm, {"most_waiting_per_slot": 0, "longest_wait_s": 0.0}
    async with (
        farm.worker() as worker,
        farm.execute(await farm.put_action("one")),
        farm.execute(await farm.put_action("two")) as second,
        short_of(**thresholds)(shown),
    ):
        await worker.granted()
        await second.next()
        yield


@asynccontextmanager
async def no_machines(shown: Shown) -> AsyncIterator[None]:
    """The provider gives none."""
    shown.provider.append("no quota for t3.large")
    yield
    shown.provider.clear()


CAUSES = (  # component, cause, what is said, whether work is taken all the same
    ("storage", no_storage, "the storage is down", False),
    ("disk", short_of(least_disk=1.1), "left of", False),
    ("memory", short_of(least_memory=1.1), "of memory left of", False),
    ("descriptors", short_of(least_descriptors=1.1), "file descriptors are in use", False),
    ("workers", silent_worker, "silent has not been heard of", True),
    ("workers", cut_off, "2 workers were lost within 1m", True),
    ("queue", long_queue, "wait for 1 slots", True),
    ("provider", no_machines, "no quota for t3.large", True),
)


@asynccontextmanager
async def showing(folder: Path) -> AsyncIterator[Shown]:
    """A coordinator with its pages, which looks at itself all the time."""
    root, config = folder / "store", folder / "config.yaml"
    config.write_text(CONFIG.format(root=root))
    settings, _ = load_settings(str(config), {}, {})
    provider: list[str] = []
    async with (
        open_pages(settings) as pages,
        open_coordinator(settings, Hooks(problems=lambda: provider)) as made,
        Channel(made.coordinator) as channel,
        httpx.AsyncClient(base_url=f"http://{pages.addresses[0]}", timeout=60) as http,
        trio.open_nursery() as nursery,
    ):
        made.wellbeing.every_s = 0.01
        # What this machine happens to lack is not what is told of here.
        made.wellbeing.thresholds = replace(
            made.wellbeing.thresholds, least_disk=0, least_memory=0, least_descriptors=0
        )
        nursery.start_soon(pages.serve, made)
        made.ready()
        farm = Farm(
            made.coordinator,
            channel,
            made.stores.blobs,
            None,
            None,
            made.scheduler,
            [],  # type: ignore[arg-type]  # only what is asked here
        )
        yield Shown(made, farm, http, root, provider)
        nursery.cancel_scope.cancel()


async def test_each_cause_is_shown_and_goes_away(tmp_path: Path) -> None:
    """By /readyz, /healthz and grpc's health, with the reason; without the cause all is well."""
    with trio.fail_after(120):
        async with showing(tmp_path) as shown:
            for component, cause, says, ready in CAUSES:
                await shown.until_well()
                async with cause(shown):
                    await shown.until(component, says, ready=ready)
            await shown.until_well()
