"""A coordinator's status in words."""

from builder.assembly.status import sections, service_line
from builder.reapi.pb import control_pb2 as pb


def test_a_working_service() -> None:
    status = pb.Status(
        state="running",
        workers=pb.WorkerCounts(total=8, idle=2, busy=6, slots=8, slots_busy=6),
        queue=pb.QueueCounts(pending=12, executing=6, completed=1),
        executions=pb.ExecutionFigures(succeeded=3, failed=1, cache_hits=1, cache_misses=3),
        pool=pb.PoolState(minimum=2, maximum=20, desired=8, autoscale=True, decision="waits"),
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
                ("Utilization", "75% (6 of 8 slots)"),
            ],
        ),
        (
            "Queue",
            [("Pending", "12 actions"), ("Executing", "6 actions"), ("Completed", "1 action")],
        ),
        (
            "Autoscaling",
            [("Pool", "2 to 20 workers, 8 wanted (enabled)"), ("Next action", "waits")],
        ),
        (
            "Metrics",
            [
                ("Success rate", "75.0%"),
                ("Cache hit rate", "25.0%"),
                ("Avg execution time", "850ms"),
            ],
        ),
    ]


def test_rates_of_nothing_are_left_out() -> None:
    """A service that has done nothing has no success rate, and none of 0 %."""
    found = dict(sections(pb.Status(state="running")))
    assert found["Metrics"] == [("Actions", "none yet")]
    assert "Utilization" not in dict(found["Workers"])
    assert "Autoscaling" not in found


def test_problems_are_told() -> None:
    status = pb.Status(state="draining", problems=["3 actions wait", "disk is full"])
    status.workers.draining = 1
    found = dict(sections(status))
    assert found["Problems"] == [("1", "3 actions wait"), ("2", "disk is full")]
    assert ("Draining", "1") in found["Workers"]
