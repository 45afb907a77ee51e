"""Figures for Prometheus: base units (seconds, bytes), bounded label sets, cheap to keep.

Hot paths keep plain integers; a *source* turns a snapshot of them into families when somebody
scrapes. Only what is a distribution (a duration) is observed as it happens.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString

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

    def seconds(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> "Durations":
        """A histogram of durations; `name` ends in `_seconds`."""
        made = Durations(name, help_, labels)
        self.registry.register(made)
        return made

    def expose(self) -> bytes:
        """All of it in the text format, for `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class Durations:
    """A histogram for each tuple of label values. The client library's own takes a lock for each
    of its numbers, and five times as long; here one thread observes."""

    def __init__(self, name: str, help_: str, labels: tuple[str, ...]) -> None:
        assert name.endswith("_seconds"), name
        self._name, self._help, self._labels = name, help_, labels
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observer(self, *labels: str) -> Callable[[float], None]:
        """Takes the seconds of one, of these label values."""
        counts = self._counts.setdefault(labels, [0] * (len(SECONDS) + 1))
        sums = self._sums
        sums.setdefault(labels, 0.0)

        def observe(seconds: float) -> None:
            counts[bisect_left(SECONDS, seconds)] += 1
            sums[labels] += seconds

        return observe

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        bounds = [*map(floatToGoString, SECONDS), "+Inf"]
        for labels, counts in self._counts.items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family

    def describe(self) -> list[Metric]:
        return [HistogramMetricFamily(self._name, self._help, labels=self._labels)]


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
