"""What instances may upload, from the settings; how much of it they did, for status and metrics."""

import time
from collections.abc import Iterator

from builder.config.settings import Store
from builder.reapi.pb import control_pb2
from builder.server.quotas import Quotas
from builder.telemetry.metrics import Family

Values = dict[tuple[str, ...], float]


def quotas_of(store: Store) -> Quotas:
    most = {one.instance: one.uploads for one in store.quotas}
    return Quotas(most, store.lease, time.monotonic)


def usage(quotas: Quotas) -> list[control_pb2.InstanceUsage]:
    """Of those that have a quota."""
    return [
        control_pb2.InstanceUsage(
            name=one.instance,
            uploaded_bytes=one.used_bytes,
            quota_bytes=one.most_bytes,
            refused_uploads=one.refused,
        )
        for one in quotas.usage()
    ]


def families(quotas: Quotas) -> Iterator[Family]:
    """Nothing where there are no quotas."""
    found = quotas.usage()
    if not found:
        return
    label = ("reapi_instance",)
    used: Values = {(one.instance,): float(one.used_bytes) for one in found}
    yield Family("builder_instance_uploaded_bytes", "Within a lease.", "gauge", used, label)
    most: Values = {(one.instance,): float(one.most_bytes) for one in found}
    yield Family("builder_instance_quota_bytes", "What it may upload.", "gauge", most, label)
    refused: Values = {(one.instance,): float(one.refused) for one in found}
    yield Family("builder_instance_refused_total", "Uploads refused.", "counter", refused, label)
