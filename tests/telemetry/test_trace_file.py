"""The record of the work that came: written as it is replayed."""

import json
from pathlib import Path

import pytest

from builder.base.errors import UsageError
from builder.cli.pool import _load
from builder.reapi.pb.remote_execution_pb2 import ExecuteResponse
from builder.telemetry import trace_file
from builder.telemetry.trace_file import TraceFile

BEGAN_NS = 1_000_000_000_000


def response(asked_s: float, held_s: float, worker: str = "w") -> bytes:
    made = ExecuteResponse()
    metadata = made.result.execution_metadata
    metadata.worker = worker
    asked_ns = BEGAN_NS + round(asked_s * 1e9)
    metadata.queued_timestamp.FromNanoseconds(asked_ns)
    metadata.worker_start_timestamp.FromNanoseconds(asked_ns + 10**9)
    metadata.worker_completed_timestamp.FromNanoseconds(asked_ns + 10**9 + round(held_s * 1e9))
    return made.SerializeToString()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "trace.jsonl"


def recorded(path: Path, *responses: bytes) -> list[dict[str, float]]:
    trace = TraceFile(path, lambda: BEGAN_NS)
    for one in responses:
        trace.observe(one)
    trace.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_recorded_can_be_replayed(path: Path) -> None:
    """In the order of asking, whatever the order of ending."""
    recorded(path, response(2.5, 0.25), response(1.0, 30.0))
    assert [(a.at_s, a.duration_s) for a in _load(str(path), 1)] == [(1.0, 30.0), (2.5, 0.25)]


def test_what_no_worker_ran_is_no_work(path: Path) -> None:
    """Nor is what was asked before the file began: it counts as asked then."""
    told = recorded(path, response(1.0, 3.0, worker=""), response(1.0, 0.0), response(-9.0, 3.0))
    assert told == [{"at_s": 0.0, "duration_s": 3.0}]


def test_the_last_file_is_kept(path: Path) -> None:
    recorded(path, response(1.0, 3.0))
    recorded(path, response(2.0, 3.0))
    assert "1.0" in path.with_name("trace.jsonl.1").read_text()
    assert "2.0" in path.read_text()


def test_a_file_grows_to_its_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_file, "MOST_BYTES", 100)
    assert len(recorded(path, *[response(1.0, 3.0)] * 10)) == 3


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pool\.record"):
        TraceFile(Path("/proc/trace.jsonl"), lambda: BEGAN_NS)
