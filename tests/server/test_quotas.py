"""What an instance may hold of what it uploads, and what happens beyond it."""

from collections.abc import Sequence

import pytest

from builder.assembly.upload_quotas import families, quotas_of, usage
from builder.base.digest import Digest, digest_of
from builder.base.errors import InvalidArgumentError, ResourceExhaustedError
from builder.config.settings import Store, UploadQuota
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.counted import CAS, bounded
from builder.server.quotas import Most, Quotas, Usage
from builder.stores.index import TICKS_PER_LEASE
from builder.stores.memory import MemoryBlobStore
from builder.stores.remote import RemoteBlobStore
from tests.server.direct import DirectChannel
from tests.stores.conftest import Time, services_of

HOUR = 3600.0
MIB = 1024 * 1024


@pytest.fixture
def clock() -> Time:
    return Time()


def named(number: int, size: int) -> Digest:
    return Digest(f"{number:064x}", size)


def used(quotas: Quotas) -> dict[str, int]:
    return {one.instance: one.used_bytes for one in quotas.usage()}


def test_an_instance_may_hold_so_much_and_no_more(clock: Time) -> None:
    """Up to the quota; then it is told what, and what to do, until leases have ended."""
    quotas = Quotas({"a": Most(100)}, HOUR, clock)
    quotas.take("a", [named(1, 60)])
    clock.now += HOUR / 2
    quotas.take("a", [named(2, 40)])
    with pytest.raises(ResourceExhaustedError, match=r"'a' holds 100 B of 100 B .* store\.quotas"):
        quotas.take("a", [named(3, 1)])
    quotas.take("b", [named(3, 10**12)])  # has none
    assert quotas.usage() == [Usage("a", 100, 2, Most(100), 1)]
    clock.now += HOUR / 2 + 2 * HOUR / TICKS_PER_LEASE
    quotas.take("a", [named(3, 60)])
    assert used(quotas) == {"a": 100}
    clock.now += 2 * HOUR
    assert used(quotas) == {"a": 0}


def test_a_blob_counts_once_as_long_as_it_is_promised(clock: Time) -> None:
    """However often it comes; asking for it promises it anew, and what was never held does not."""
    quotas = Quotas({"a": Most(100)}, HOUR, clock)
    for _ in range(5):
        quotas.take("a", [named(1, 60), named(1, 60)])
    assert used(quotas) == {"a": 60}
    for _ in range(3):
        clock.now += HOUR * 0.9
        quotas.renew("a", "sha256", [named(1, 60), named(2, 7)])
        assert used(quotas) == {"a": 60}
    clock.now += HOUR * 1.1
    assert used(quotas) == {"a": 0}


def test_a_batch_is_taken_whole_or_not_at_all(clock: Time) -> None:
    """And blobs have a bound of their own."""
    quotas = Quotas({"a": Most(10**9, 3)}, HOUR, clock)
    quotas.take("a", [named(1, 1), named(2, 1)])
    with pytest.raises(ResourceExhaustedError, match="in 2 of 3 blobs"):
        quotas.take("a", [named(3, 1), named(4, 1)])
    assert used(quotas) == {"a": 2}
    quotas.take("a", [named(1, 1), named(3, 1)])
    assert used(quotas) == {"a": 3}


def test_others_have_a_quota_each(clock: Time) -> None:
    """`*` is one for every instance that is not named; beyond many they share it."""
    quotas = Quotas({"*": Most(10), "big": Most(100)}, HOUR, clock)
    quotas.take("big", [named(0, 100)])
    for name in ("x", "y"):
        quotas.take(name, [named(0, 10)])
        with pytest.raises(ResourceExhaustedError):
            quotas.take(name, [named(1, 1)])
    for number in range(2 * Quotas.MOST_INSTANCES):
        quotas.renew(f"n{number}", "sha256", [])
    assert len(quotas.usage()) == Quotas.MOST_INSTANCES + 1


@pytest.mark.parametrize("size", [1000, 3 * MIB])
@pytest.mark.parametrize("function", ["sha256", "blake3"])
async def test_uploads_count_and_are_refused(clock: Time, size: int, function: str) -> None:
    """In batches and by ByteStream, of that instance alone; reading and asking are free, and so is
    what is there already."""
    quotas = Quotas({"small": Most(size + 500)}, HOUR, clock)
    far = MemoryBlobStore(64 * MIB)
    channel = DirectChannel(*bounded(services_of(far), quotas))
    small, other = RemoteBlobStore(channel, "small"), RemoteBlobStore(channel, "other")
    first, second = bytes(size), b"1" * size
    one, two = digest_of(first, function), digest_of(second, function)
    await small.put(one, first)
    assert used(quotas) == {"small": size}
    assert await small.get(one) == first
    await small.put(one, first)
    assert await small.find_missing([two]) == [two]
    assert used(quotas) == {"small": size}
    with pytest.raises(ResourceExhaustedError, match=r"store\.quotas"):
        await small.put(two, second)
    assert await small.find_missing([two]) == [two]
    await other.put(two, second)
    assert await far.get(two) == second
    clock.now += HOUR * 0.9
    await small.find_missing([one])
    clock.now += HOUR * 0.9
    assert used(quotas) == {"small": size}


async def test_what_is_no_digest_hides_no_other(clock: Time) -> None:
    """A batch with a wrong digest among others counts the others."""
    quotas = Quotas({"a": Most(100)}, HOUR, clock)
    channel = DirectChannel(*bounded(services_of(MemoryBlobStore(MIB)), quotas))

    async def upload(blobs: Sequence[bytes]) -> None:
        request = pb.BatchUpdateBlobsRequest(instance_name="a")
        request.requests.add(digest=pb.Digest(hash="G" * 64, size_bytes=1), data=b"x")
        for data in blobs:
            request.requests.add(digest=to_proto(digest_of(data)), data=data)
        await channel.unary(f"{CAS}BatchUpdateBlobs", request.SerializeToString())

    await upload([bytes(90)])
    assert used(quotas) == {"a": 90}
    with pytest.raises(ResourceExhaustedError):
        await upload([b"1" * 90])
    with pytest.raises(InvalidArgumentError):
        await channel.unary(f"{CAS}BatchUpdateBlobs", b"\x0a\x01a\xff")


def test_services_without_quotas_are_left_alone() -> None:
    """The very same objects."""
    services = services_of(MemoryBlobStore(MIB))
    assert bounded(services, quotas_of(Store())) == list(services)
    assert list(families(quotas_of(Store()))) == []


def test_usage_is_told() -> None:
    """In the status and in the metrics, of those that have a quota."""
    quotas = quotas_of(Store(quotas=(UploadQuota("a", 10, 5), UploadQuota("*", 20))))
    quotas.take("a", [named(1, 3), named(2, 4)])
    quotas.take("b", [named(1, 5)])
    told = [(one.name, one.uploaded_bytes, one.quota_bytes) for one in usage(quotas)]
    assert told == [("a", 7, 10), ("b", 5, 20)]
    assert [(one.blobs, one.quota_blobs) for one in usage(quotas)] == [(2, 5), (1, 0)]
    found = {family.name: family.values for family in families(quotas)}
    assert found["builder_instance_uploaded_bytes"] == {("a",): 7.0, ("b",): 5.0}
    assert found["builder_instance_quota_bytes"] == {("a",): 10.0, ("b",): 20.0}
    assert found["builder_instance_uploaded_blobs"] == {("a",): 2.0, ("b",): 1.0}
