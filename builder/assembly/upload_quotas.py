"""What instances may hold, from the settings; how much of it they do, for status and metrics."""

import time
from collections.abc import Iterator

from builder.assembly.figures import kind_of
from builder.config.settings import Store
from builder.reapi.pb import control_pb2
from builder.server.quotas import Most, Quotas
from builder.telemetry.metrics import Family

Values = dict[tuple[str, ...], float]
LABEL = ("reapi_instance",)


def quotas_of(store: Store) -> Quotas:
    most = {one.instance: Most(one.uploads, one.blobs) for one in store.quotas}
    return Quotas(most, store.lease, time.monotonic)


def usage(quotas: Quotas) -> list[control_pb2.InstanceUsage]:
    """Of those that have a quota."""
    return [
        control_pb2.InstanceUsage(
            name=one.instance,
            uploaded_bytes=one.used_bytes,
            quota_bytes=one.most.size_bytes,
            refused_uploads=one.refused,
            blobs=one.blobs,
            quota_blobs=one.most.blobs,
        )
        for one in quotas.usage()
    ]


def families(quotas: Quotas) -> Iterator[Family]:
    """Nothing where there are no quotas."""
    found = usage(quotas)
    if not found:
        return

    def family(name: str, help_: str, field: str) -> Family:
        values: Values = {(one.name,): float(getattr(one, field)) for one in found}
        return Family(f"builder_instance_{name}", help_, kind_of(name), values, LABEL)

    yield family("uploaded_bytes", "Of its uploads that are promised.", "uploaded_bytes")
    yield family("quota_bytes", "What it may hold.", "quota_bytes")
    yield family("uploaded_blobs", "Its uploads that are promised.", "blobs")
    yield family("quota_blobs", "What it may hold; 0 is no limit.", "quota_blobs")
    yield family("refused_total", "Uploads refused.", "refused_uploads")
