"""What an instance may upload within a lease, and what happens beyond it."""

import pytest

from builder.assembly.upload_quotas import families, quotas_of, usage
from builder.base.digest import digest_of
from builder.base.errors import ResourceExhaustedError
from builder.config.settings import Store, UploadQuota
from builder.server.quotas import PARTS, Quotas, Usage, bounded
from builder.stores.memory import MemoryBlobStore
from builder.stores.remote import RemoteBlobStore
from tests.server.direct import DirectChannel
from tests.stores.conftest import Time, services_of

HOUR = 3600.0
MIB = 1024 * 1024


@pytest.fixture
def clock() -> Time:
    return Time()


def used(quotas: Quotas) -> dict[str, int]:
    return {one.instance: one.used_bytes for one in quotas.usage()}


def test_an_instance_may_upload_so_much_and_no_more(clock: Time) -> None:
    """Up to the quota; then it is told what, and what to do, until its window has moved on."""
    quotas = Quotas({"a": 100}, HOUR, clock)
    quotas.take("a", 60)
    clock.now += HOUR / 2
    quotas.take("a", 40)
    with pytest.raises(ResourceExhaustedError, match=r"'a' has uploaded 100 B .* store\.quotas"):
        quotas.take("a", 1)
    quotas.take("b", 10**12)  # has none
    assert quotas.usage() == [Usage("a", 100, 100, 1)]
    clock.now += HOUR / 2 + HOUR / PARTS
    quotas.take("a", 60)
    assert used(quotas) == {"a": 100}
    clock.now += 2 * HOUR
    assert used(quotas) == {"a": 0}


def test_what_was_uploaded_counts_for_a_whole_window(clock: Time) -> None:
    """Never less than a window long, and at most one part longer."""
    quotas = Quotas({"a": PARTS * 2}, HOUR, clock)
    for _ in range(PARTS * 5):
        clock.now += HOUR / PARTS
        quotas.take("a", 1)
        assert used(quotas)["a"] <= PARTS + 1
    assert used(quotas)["a"] == PARTS + 1


def test_others_have_a_quota_each(clock: Time) -> None:
    """`*` is one for every instance that is not named; beyond many they share it."""
    quotas = Quotas({"*": 10, "big": 100}, HOUR, clock)
    quotas.take("big", 100)
    for name in ("x", "y"):
        quotas.take(name, 10)
        with pytest.raises(ResourceExhaustedError):
            quotas.take(name, 1)
    for number in range(2 * Quotas.MOST_INSTANCES):
        quotas.check(f"n{number}", 1)
    assert len(quotas.usage()) == Quotas.MOST_INSTANCES + 1


@pytest.mark.parametrize("size", [1000, 3 * MIB])
async def test_uploads_count_and_are_refused(clock: Time, size: int) -> None:
    """In batches and by ByteStream, of that instance alone; reading and asking are free."""
    quotas = Quotas({"small": size + 500}, HOUR, clock)
    far = MemoryBlobStore(64 * MIB)
    channel = DirectChannel(*bounded(services_of(far), quotas))
    small, other = RemoteBlobStore(channel, "small"), RemoteBlobStore(channel, "other")
    first, second = bytes(size), b"1" * size
    await small.put(digest_of(first), first)
    assert size <= used(quotas)["small"] <= size + 500
    before = used(quotas)
    assert await small.get(digest_of(first)) == first
    assert await small.find_missing([digest_of(second)]) == [digest_of(second)]
    assert used(quotas) == before
    with pytest.raises(ResourceExhaustedError, match=r"store\.quotas"):
        await small.put(digest_of(second), second)
    assert await small.find_missing([digest_of(second)]) == [digest_of(second)]
    await other.put(digest_of(second), second)
    assert await far.get(digest_of(second)) == second


def test_services_without_quotas_are_left_alone() -> None:
    """The very same objects."""
    services = services_of(MemoryBlobStore(MIB))
    assert bounded(services, quotas_of(Store())) == list(services)
    assert list(families(quotas_of(Store()))) == []


def test_usage_is_told() -> None:
    """In the status and in the metrics, of those that have a quota."""
    quotas = quotas_of(Store(quotas=(UploadQuota("a", 10), UploadQuota("*", 20))))
    quotas.take("a", 7)
    quotas.take("b", 5)
    told = [(one.name, one.uploaded_bytes, one.quota_bytes) for one in usage(quotas)]
    assert told == [("a", 7, 10), ("b", 5, 20)]
    found = {family.name: family.values for family in families(quotas)}
    assert found["builder_instance_uploaded_bytes"] == {("a",): 7.0, ("b",): 5.0}
    assert found["builder_instance_quota_bytes"] == {("a",): 10.0, ("b",): 20.0}
