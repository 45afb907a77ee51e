"""Figures for Prometheus: base units (seconds, bytes), bounded label sets, cheap to keep.

Hot paths keep plain integers; a *source* turns a snapshot of them into families when somebody
scrapes. Only what is a distribution (a duration) is observed as it happens.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    1800,
)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with a value for each tuple of label values.

    A counter's name ends in `_total`; a name ends in its base unit (`_seconds`, `_bytes`).
    """

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    values: Mapping[tuple[str, ...], float]
    labels: tuple[str, ...] = field(default=())


Source = Callable[[], Iterable[Family]]


class Metrics:
    """One program's registry; no global state."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def add(self, source: Source) -> None:
        """Ask it at every scrape. Two sources may not tell of one name."""
        self.registry.register(_Snapshots(source))

    def seconds(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> Histogram:
        """A histogram of durations; `name` ends in `_seconds`."""
        assert name.endswith("_seconds"), name
        return Histogram(name, help_, labels, buckets=SECONDS, registry=self.registry)

    def expose(self) -> bytes:
        """All of it in the text format, for `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class _Snapshots:
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        for family in self._source():
            yield _metric(family)

    def describe(self) -> list[Metric]:
        return []  # named when they are collected, not before


def _metric(family: Family) -> Metric:
    metric: CounterMetricFamily | GaugeMetricFamily
    if family.kind == "counter":
        metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    else:
        metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in family.values.items():
        metric.add_metric(list(labels), value)
    return metric
