"""One action, one trace: client, coordinator, worker and the stages in its sandbox."""

from pathlib import Path

import pytest

from tests.e2e.service import running
from tests.e2e.test_walkthrough import bldr, project
from tests.telemetry.collector import collecting

pytestmark = pytest.mark.slow


def test_an_action_is_one_trace_from_the_client_to_its_sandbox(tmp_path: Path) -> None:
    """Each part hangs below the one that asked for it, whoever sent it."""
    with collecting() as collector:
        traced = {"BUILDER_TRACING": collector.endpoint}
        with running(tmp_path / "service", variables=traced) as service:
            where = project(tmp_path)
            asked = ("build", "cpp_project", "--remote", "--coordinator", service.coordinator)
            built = bldr(where, *asked, **traced)
            assert built.returncode == 0, built.stderr
        names = {"bldr build", "action", "Execute", "lease", "execution", "command"}
        spans = collector.until(lambda found: names <= {span.name for _, span in found})
    by_id = {span.span_id: span for _, span in spans}
    actions = [span for _, span in spans if span.name == "action"]
    assert actions
    for action in actions:
        chain = [action]
        for name in ("Execute", "lease", "execution", "command"):
            below = [
                span
                for _, span in spans
                if span.name == name and span.parent_span_id == chain[-1].span_id
            ]
            assert len(below) == 1, (name, below)
            chain += below
        assert {span.trace_id for span in chain} == {action.trace_id}
        assert by_id[action.parent_span_id].name == "bldr build"
    senders = {name: service for service, span in spans for name in [span.name]}
    assert senders["action"] == "builder-client"
    assert senders["Execute"] == senders["queue"] == "builder-coordinator"
    assert senders["lease"] == "builder-worker"
