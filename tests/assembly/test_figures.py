"""The coordinator's figures: complete, well named, bounded."""

import re
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from builder.assembly.figures import MOST_PLATFORMS, Calls, Sources, Stages, journal
from builder.assembly.tier_figures import TierFigures
from builder.assembly.tiers import Tier
from builder.reapi.pb import control_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.execution import CacheFigures
from builder.server.journal import FileJournal
from builder.stores.backlog import Backlog
from builder.stores.metered import Meter
from builder.stores.write_back import WriteBack
from builder.telemetry.metrics import Metrics
from builder.telemetry.wellbeing import Problem
from tests.server.farm import LINUX, Farm, farming

POOL = control_pb2.PoolState(
    name="default",
    minimum=1,
    maximum=4,
    desired=3,
    ready=2,
    starting=1,
    predicted_load=0.8,
    trend=0.1,
)
UNITS = ("_total", "_seconds", "_bytes", "_ratio")
THINGS = {
    "builder_actions",
    "builder_workers",
    "builder_slots",
    "builder_slots_busy",
    "builder_backlog_actions",
    "builder_queue_actions",
    "builder_pool_workers",
    "builder_healthy",
    "builder_tier_up",
    "builder_write_back_waiting",
    "builder_store_entries",
    "builder_journal_operations",
}


def exposed(farm: Farm) -> Metrics:
    metrics = Metrics()
    calls = Calls(["/a.B/C"])
    calls.observe("/a.B/C", 0, 0.5, 1)
    calls.observe("/evil/" + "x" * 100, 12, 0.5, 1)
    calls.ended(11)
    calls.ended(4000)
    calls.limit_hit("max_streams")
    problems = (Problem("disk", "full", True),)
    stores = (("blobs", farm.blobs),)
    source = Sources(
        farm.scheduler, CacheFigures(hits=2), stores, calls, lambda: [POOL], lambda: problems
    )
    metrics.add(source.families)
    farm.scheduler.history.ended = Stages(metrics).observe
    metrics.add(TierFigures([tier()], metrics).families)
    metrics.add(lambda: journal(FileJournal(Path("unused"))))
    return metrics


def tier() -> Tier:
    """A tier that is down, with a queue."""
    later = WriteBack(Backlog(), 1, "drop", nothing, nothing)
    meter = Meter("blobs.far", hits=3)
    return Tier("blobs.far", "redis", meter=meter, waiting=later, trouble="gone")


async def nothing(_names: object) -> None:
    await trio.lowlevel.checkpoint()


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
    }


async def test_figures_of_calls_pool_and_health() -> None:
    """Unknown paths and codes share one label: a client cannot make new ones."""
    async with farming() as farm:
        found = samples(exposed(farm))
    assert found["builder_rpcs_total", ("OK", "a.B.C")] == 1
    assert found["builder_rpcs_total", ("UNIMPLEMENTED", "other")] == 1
    assert found["builder_connections_sent_away_total", ("ENHANCE_YOUR_CALM",)] == 1
    assert found["builder_connections_sent_away_total", ("other",)] == 1
    assert found["builder_wire_limits_hit_total", ("max_streams",)] == 1
    assert found["builder_pool_workers", ("default", "desired")] == 3
    assert found["builder_pool_predicted_load_ratio", ("default",)] == 0.8
    assert found["builder_healthy", ("disk",)] == 0
    assert found["builder_healthy", ("memory",)] == 1


async def test_queues_by_platform_and_reason_are_bounded() -> None:
    """Clients choose platforms; the longest queues are told, the rest is one."""
    async with farming(pools=()) as farm:
        metrics = exposed(farm)
        streams = [
            farm.execute(await farm.put_action(str(n), platform={**LINUX, "n": str(n)}))
            for n in range(MOST_PLATFORMS + 5)
        ]
        async with AsyncExitStack() as stack:
            for stream in streams:
                await (await stack.enter_async_context(stream)).next()
            queues = {k: v for k, v in samples(metrics).items() if k[0] == "builder_queue_actions"}
    assert sum(queues.values()) == MOST_PLATFORMS + 5
    assert len(queues) <= MOST_PLATFORMS + 1


async def test_stages_are_observed_once_for_each_run() -> None:
    """Two clients that share a run have one result."""
    async with farming() as farm, farm.worker() as worker:
        metrics = exposed(farm)
        response = pb.ExecuteResponse(result=pb.ActionResult())
        metadata = response.result.execution_metadata
        metadata.worker = "w1"
        metadata.execution_start_timestamp.FromSeconds(10)
        metadata.execution_completed_timestamp.FromSeconds(12)
        proof = workers_pb2.ExecutionProof()
        proof.setup.FromMilliseconds(20)
        proof.persistent_worker.request = 2
        proof.audit.outside_count = 1
        metadata.auxiliary_metadata.add().Pack(proof)
        action = await farm.put_action("one")
        async with farm.execute(action) as one, farm.execute(action) as two:
            lease = await worker.granted()
            await worker.finish(lease.lease_id, response)
            await one.result()
            await two.result()
        found = samples(metrics)
    assert found["builder_stage_seconds_sum", ("execution",)] == 2
    assert found["builder_stage_seconds_count", ("execution",)] == 1
    assert found["builder_sandbox_seconds_sum", ("setup",)] == 0.02
    assert found["builder_persistent_worker_actions_total", ("warm",)] == 1
    assert found["builder_audited_actions_total", ("undeclared",)] == 1


async def test_tiers_have_figures() -> None:
    """What each did, whether it is well, what waits; durations by what was asked."""
    async with farming() as farm:
        metrics = exposed(farm)
        one = tier()
        other = Metrics()
        figures = TierFigures([one], other)
        other.add(figures.families)
        assert one.meter is not None
        one.meter.observe("get", 0.5)
        one.meter.observe("get", 0.5)
        found = {**samples(metrics), **samples(other)}
    assert found["builder_tier_hits_total", ("blobs.far",)] == 3
    assert found["builder_tier_up", ("blobs.far",)] == 0
    assert found["builder_write_back_waiting", ("blobs.far",)] == 0
    assert found["builder_tier_seconds_sum", ("get", "blobs.far")] == 1.0


async def test_names_follow_prometheus_rules() -> None:
    """Counters end in _total, the others in a base unit or are things that are counted."""
    async with farming() as farm:
        text = exposed(farm).expose().decode()
    kinds = dict(re.findall(r"^# TYPE (builder_\S+) (\S+)$", text, re.MULTILINE))
    helps = set(re.findall(r"^# HELP (builder_\S+) \S", text, re.MULTILINE))
    assert set(kinds) == helps
    for name, kind in kinds.items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.endswith(UNITS) or name in THINGS, name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (prometheus) is not here")
async def test_promtool_finds_nothing() -> None:
    async with farming() as farm:
        text = exposed(farm).expose()
    done = await trio.run_process(
        ["promtool", "check", "metrics"], stdin=text, capture_stderr=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


CONFIGS = Path(__file__).parent.parent.parent / "configs" / "monitoring"


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "prometheus-alerts.yaml"])
async def test_dashboard_and_alerts_ask_for_figures_that_there_are(name: str) -> None:
    """Every name in the files is one that the service tells, once something has happened."""
    text = (CONFIGS / name).read_text()
    yaml.safe_load(text)  # JSON is YAML
    asked = set(re.findall(r"\bbuilder_[a-z_]+", text))
    async with farming() as farm:
        told = exposed(farm).expose().decode()
    names = set(re.findall(r"^# TYPE (builder_\S+) ", told, re.MULTILINE))
    assert asked
    assert {one.removesuffix("_bucket") for one in asked} <= names


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (prometheus) is not here")
async def test_promtool_takes_the_alerts() -> None:
    file = str(CONFIGS / "prometheus-alerts.yaml")
    await trio.run_process(["promtool", "check", "rules", file], capture_stdout=True)
