"""Figures in Prometheus' text format."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from builder.telemetry.metrics import Family, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
    }


def test_sources_are_asked_at_every_scrape() -> None:
    """A snapshot's figures are those of the moment of the scrape."""
    metrics = Metrics()
    queued = 1

    def source() -> list[Family]:
        values = {("default", "no-worker"): float(queued)}
        return [Family("builder_queue_actions", "Waiting.", "gauge", values, ("pool", "reason"))]

    metrics.add(source)
    assert samples(metrics)["builder_queue_actions", ("default", "no-worker")] == 1
    queued = 7
    assert samples(metrics)["builder_queue_actions", ("default", "no-worker")] == 7


def test_counters_and_histograms_are_exposed() -> None:
    metrics = Metrics()
    metrics.add(lambda: [Family("builder_leases_total", "Given.", "counter", {(): 3.0})])
    seconds = metrics.seconds("builder_stage_seconds", "Stages.", ("stage",))
    observe = seconds.observer("fetch")
    for took in (0.02, 0.025, 7000.0):
        observe(took)
    found = samples(metrics)
    text = metrics.expose().decode()
    assert 'builder_stage_seconds_bucket{le="0.01",stage="fetch"} 0.0' in text
    assert 'builder_stage_seconds_bucket{le="0.025",stage="fetch"} 2.0' in text
    assert 'builder_stage_seconds_bucket{le="1800.0",stage="fetch"} 2.0' in text
    assert 'builder_stage_seconds_bucket{le="+Inf",stage="fetch"} 3.0' in text
    assert found["builder_stage_seconds_count", ("fetch",)] == 3
    assert found["builder_leases_total", ()] == 3
    assert found["builder_stage_seconds_sum", ("fetch",)] == pytest.approx(7000.045)


def test_the_process_tells_of_itself() -> None:
    assert samples(Metrics())["process_resident_memory_bytes", ()] > 1_000_000


def test_two_registries_do_not_meet() -> None:
    """Each program has its own figures: a service inside a test leaves nothing in the next."""
    one, two = Metrics(), Metrics()
    one.add(lambda: [Family("builder_only_in_one", "One.", "gauge", {(): 1.0})])
    assert ("builder_only_in_one", ()) in samples(one)
    assert ("builder_only_in_one", ()) not in samples(two)
