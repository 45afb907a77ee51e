"""Each trouble that a service sees in itself, caused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from builder.assembly.wellbeing import Wellbeing, room
from builder.config.settings import Scheduler, Settings, Store
from builder.reapi.pb import health_pb2
from builder.server.health import HealthService
from builder.telemetry.wellbeing import Thresholds
from tests.server.direct import DirectContext
from tests.server.farm import Farm, farming


def looking(
    farm: Farm, tmp_path: Path, thresholds: Thresholds | None = None, provider: str = ""
) -> Wellbeing:
    settings = Settings(store=Store(path=str(tmp_path)))
    sentences = (provider,) if provider else ()
    return Wellbeing(settings, farm.scheduler, lambda: sentences, thresholds or Thresholds(0, 0, 0))


async def components(wellbeing: Wellbeing) -> list[str]:
    await wellbeing.look()
    return [problem.component for problem in wellbeing.problems]


async def test_a_service_in_order_has_no_problem(tmp_path: Path) -> None:
    """The probe leaves nothing behind."""
    async with farming() as farm, farm.worker():
        wellbeing = looking(farm, tmp_path)
        assert await components(wellbeing) == []
        assert wellbeing.is_ready()
        assert list(tmp_path.iterdir()) == []


async def test_a_storage_that_went_away_comes_back(tmp_path: Path) -> None:
    """Its directory is taken away under the service; with it back, all is well again."""
    async with farming() as farm:
        wellbeing = looking(farm, tmp_path / "store")
        assert await components(wellbeing) == ["storage"]
        assert "No such file" in wellbeing.sentences()[0]
        assert not wellbeing.is_ready()
        (tmp_path / "store").mkdir()
        assert await components(wellbeing) == []
        shutil.rmtree(tmp_path / "store")
        assert await components(wellbeing) == ["storage"]


@pytest.mark.parametrize(
    ("component", "thresholds"),
    [
        ("disk", Thresholds(least_disk=1.1, least_memory=0, least_descriptors=0)),
        ("memory", Thresholds(least_disk=0, least_memory=1.1, least_descriptors=0)),
        ("descriptors", Thresholds(least_disk=0, least_memory=0, least_descriptors=1.1)),
    ],
)
async def test_what_runs_out_makes_the_service_unready(
    tmp_path: Path, component: str, thresholds: Thresholds
) -> None:
    """Real figures of this machine against a threshold that none can meet."""
    async with farming() as farm:
        wellbeing = looking(farm, tmp_path, thresholds)
        assert await components(wellbeing) == [component]
        assert not wellbeing.is_ready()


async def test_a_worker_that_says_nothing_is_told(tmp_path: Path) -> None:
    async with farming() as farm, farm.worker("silent"):
        wellbeing = looking(farm, tmp_path)
        scheduler = Scheduler(heartbeat_interval=1e-9)
        wellbeing.settings = replace(wellbeing.settings, scheduler=scheduler)
        assert await components(wellbeing) == ["workers"]
        assert "silent has not been heard of" in wellbeing.sentences()[0]
        assert wellbeing.is_ready()


async def test_a_queue_that_builds_up_is_told(tmp_path: Path) -> None:
    """One slot, one action on it and one that waits, where none is allowed to."""
    async with farming() as farm, farm.worker() as worker:
        thresholds = Thresholds(0, 0, 0, most_waiting_per_slot=0, longest_wait_s=0)
        async with (
            farm.execute(await farm.put_action("one")),
            farm.execute(await farm.put_action("two")) as second,
        ):
            await worker.granted()
            await second.next()
            assert await components(looking(farm, tmp_path, thresholds)) == ["queue"]


async def test_a_provider_that_fails_is_told(tmp_path: Path) -> None:
    async with farming() as farm:
        assert await components(looking(farm, tmp_path, provider="no quota")) == ["provider"]


async def test_grpc_health_follows(tmp_path: Path) -> None:
    """Not serving while the storage is away, serving again after it; draining has its own word."""
    health = HealthService(["a.B"])
    health.set(True)
    taking = True
    async with farming() as farm, trio.open_nursery() as nursery:
        wellbeing = looking(farm, tmp_path / "store")
        wellbeing.every_s = 0.01
        nursery.start_soon(wellbeing.run, health, lambda: taking)
        await until(lambda: not serving(health))
        (tmp_path / "store").mkdir()
        await until(lambda: serving(health))
        taking = False
        shutil.rmtree(tmp_path / "store")
        await until(lambda: not wellbeing.is_ready())
        assert serving(health)
        nursery.cancel_scope.cancel()


def serving(health: HealthService) -> bool:
    answer = health.check(b"", DirectContext("/x"))
    status = health_pb2.HealthCheckResponse.FromString(answer).status
    return status == health_pb2.HealthCheckResponse.SERVING


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is looked at has no event
        await trio.sleep(0.01)


def test_a_directory_that_has_gone_is_a_reason(tmp_path: Path) -> None:
    """It may be there when it is probed and away a moment later; nobody's service ends by that."""
    error, free, total = room(tmp_path)
    assert (error, 0 < free < total) == ("", True)
    gone = tmp_path / "gone"
    assert room(gone) == (f"{gone}: No such file or directory", 0, 0)
