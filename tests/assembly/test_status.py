"""A coordinator's status in words."""

from builder.assembly.status import sections, service_line
from builder.reapi.pb import control_pb2 as pb


def test_a_working_service() -> None:
    status = pb.Status(
        state="running",
        workers=pb.WorkerCounts(total=8, idle=2, busy=6, slots=8, slots_busy=6),
        queue=pb.QueueCounts(pending=12, executing=6, completed=1),
        executions=pb.ExecutionFigures(succeeded=3, failed=1, cache_hits=1, cache_misses=3),
        pools=[
            pb.PoolState(
                minimum=2,
                maximum=20,
                desired=12,
                ready=8,
                starting=1,
                autoscale=True,
                policy="predictive",
                predicted_load=0.82,
                trend=0.15,
                next_action="Scale up (add 3 workers in 15s)",
                decision="launches 1: 2 waiting",
            )
        ],
    )
    status.uptime.FromSeconds(332)
    status.executions.mean_execution.FromMilliseconds(850)
    assert service_line(status) == "Running (uptime: 5m 32s)"
    assert sections(status) == [
        (
            "Workers",
            [
                ("Total", "8"),
                ("Idle", "2"),
                ("Busy", "6"),
                ("Utilization", "75%"),
            ],
        ),
        (
            "Queue",
            [("Pending", "12 actions"), ("Executing", "6 actions"), ("Completed", "1 action")],
        ),
        (
            "Autoscaling",
            [
                ("Predicted load", "82%"),
                ("Trend", "+0.15 (increasing)"),
                ("Next action", "Scale up (add 3 workers in 15s)"),
                ("Last decision", "launches 1: 2 waiting"),
                ("Pool", "2 to 20 workers: 8 ready, 1 starting, 12 wanted"),
                ("Policy", "predictive"),
            ],
        ),
        (
            "Metrics",
            [
                ("Success rate", "75.0%"),
                ("Cache hit rate", "25.0%"),
                ("Avg execution time", "850ms"),
            ],
        ),
        ("Health", [("State", "healthy")]),
    ]


def test_tiers_tell_their_hits_and_why_they_are_down() -> None:
    status = pb.Status(state="running")
    status.tiers.add(name="blobs.near", kind="disk", hits=3, misses=1, read_bytes=2048)
    status.tiers.add(name="blobs.far", kind="redis", trouble="Redis does not answer")
    assert ("Storage tiers", [
        ("blobs.near", "disk, well, 75% hits, 2 KB read, 0 B written"),
        ("blobs.far", "redis, down: Redis does not answer, 0 B read, 0 B written"),
    ]) in sections(status)  # fmt: skip


def test_a_pool_that_an_operator_holds() -> None:
    """Who does not autoscale says so; a hold is told, with those that leave."""
    pool = pb.PoolState(minimum=2, maximum=4, desired=3, ready=3, leaving=1, held=3, trend=-0.2)
    rows = dict(dict(sections(pb.Status(state="running", pools=[pool])))["Autoscaling"])
    assert rows["Policy"] == "held at 3 by an operator"
    assert rows["Pool"] == "2 to 4 workers: 3 ready, 1 leaving, 3 wanted"
    assert rows["Trend"] == "-0.20 (decreasing)"
    fixed = pb.PoolState(minimum=2, maximum=4)
    rows = dict(dict(sections(pb.Status(state="running", pools=[fixed])))["Autoscaling"])
    assert (rows["Policy"], rows["Trend"]) == ("off", "+0.00 (steady)")


def test_each_pool_has_its_section() -> None:
    """Where there are several, each is named."""
    pools = [pb.PoolState(name="default", maximum=4), pb.PoolState(name="gpu", maximum=2)]
    names = [name for name, _ in sections(pb.Status(state="running", pools=pools))]
    assert names[2:4] == ["Autoscaling of default", "Autoscaling of gpu"]


def test_rates_of_nothing_are_not_told_as_figures() -> None:
    """A service that has done nothing has no success rate, and none of 0 %; the sections are
    there."""
    found = dict(sections(pb.Status(state="running")))
    assert list(found) == ["Workers", "Queue", "Autoscaling", "Metrics", "Health"]
    assert dict(found["Metrics"]) == dict.fromkeys(
        ("Success rate", "Cache hit rate", "Avg execution time"), "none yet"
    )
    assert dict(found["Workers"])["Utilization"] == "0%"
    assert found["Autoscaling"] == [("Policy", "none: there is no pool, workers join")]


def test_workers_with_several_slots_tell_of_them() -> None:
    counts = pb.WorkerCounts(total=2, idle=1, busy=1, slots=8, slots_busy=2)
    workers = dict(dict(sections(pb.Status(state="running", workers=counts)))["Workers"])
    assert (workers["Utilization"], workers["Slots"]) == ("25%", "2 of 8 busy")


def test_problems_are_told() -> None:
    status = pb.Status(state="draining", problems=["3 actions wait", "disk is full"])
    status.workers.draining = 1
    found = dict(sections(status))
    assert found["Problems"] == [("1", "3 actions wait"), ("2", "disk is full")]
    assert ("Draining", "1") in found["Workers"]
