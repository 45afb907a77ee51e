"""What instances may hold, from the settings; how much of it they do, for status and metrics."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from builder.assembly.figures import kind_of
from builder.base.errors import UsageError
from builder.config.settings import Store
from builder.reapi.pb import control_pb2
from builder.server.quotas import Most, Quotas
from builder.server.usage_log import UsageLog
from builder.stores.index import Restored
from builder.telemetry.log import get_logger
from builder.telemetry.metrics import Family

Values = dict[tuple[str, ...], float]
log = get_logger()
LABEL = ("reapi_instance",)
Load = Callable[[], Awaitable[object]]


def quotas_of(store: Store, kept: UsageLog | None = None) -> Quotas:
    most = {one.instance: Most(one.uploads, one.blobs, one.results) for one in store.quotas}
    if kept is None:
        return Quotas(most, store.lease, time.time)
    return Quotas(most, store.lease, time.time, kept.keep)


@contextmanager
def open_quotas(store: Store) -> Iterator[tuple[Quotas, Load]]:
    """The quotas, and what takes in what counted before a restart; nothing where there are none,
    or where blobs are in memory.

    Raises UsageError when the directory cannot be used.
    """
    if store.kind == "memory" or not store.quotas:
        yield quotas_of(store), trio.lowlevel.checkpoint
        return
    try:
        kept = UsageLog(Path(store.path) / "usage", store.lease)
    except OSError as error:
        raise UsageError(f"the usage in store.path cannot be kept: {error}") from None
    quotas = quotas_of(store, kept)

    async def load() -> None:
        def earlier() -> list[tuple[str, str, Restored]]:
            return quotas.restored(kept.read(time.time()))

        try:
            quotas.load(await trio.to_thread.run_sync(earlier, abandon_on_cancel=True))
        except OSError as error:
            log.warning("What instances hold was not read", why=str(error))

    try:
        yield quotas, load
    finally:
        kept.close()


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
            results=one.results,
            quota_results=one.most.results,
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

    yield family("uploaded_bytes", "Its uploads that are promised, its results.", "uploaded_bytes")
    yield family("quota_bytes", "What it may hold.", "quota_bytes")
    yield family("uploaded_blobs", "Its uploads that are promised.", "blobs")
    yield family("quota_blobs", "What it may hold; 0 is no limit.", "quota_blobs")
    yield family("results", "Of its actions, that count.", "results")
    yield family("quota_results", "What it may hold; 0 is no limit.", "quota_results")
    yield family("refused_total", "Uploads and results refused.", "refused_uploads")
